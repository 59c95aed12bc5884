//! A connection string as libpq reads it, taken apart: `postgres://...` or `host=... dbname=...`.
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>
//!
//! No error shows a value, nor a name that may be a piece of a password.

/// What can be obeyed. Anything else is refused by name.
const NAMES: [&str; 46] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "statement-cache-capacity",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

const RAW: &str = "its password seems to hold a character that must be percent-encoded: @ is %40, / is %2F, % is %25, \
    ? is %3F, # is %23, : is %3A";

/// Names and values, in their order.
pub type Settings = Vec<(String, String)>;

/// Takes a connection string apart.
pub fn parse(text: &str) -> Result<Settings, String> {
    let text = text.trim();
    match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
        Some(rest) => uri(rest),
        None if text.contains("://") => Err("it does not begin with postgres://".to_owned()),
        None if text.contains('=') => keywords(text),
        None => Err("it does not begin with postgres://".to_owned()),
    }
}

fn uri(rest: &str) -> Result<Settings, String> {
    let mut settings = Settings::new();
    let mut set = |name: &str, value: String| {
        if !value.is_empty() {
            settings.push((name.to_owned(), value));
        }
    };
    // As libpq: an @ after a / belongs to no user.
    let (credentials, rest) = match rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@')) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => ("", rest),
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    if place.contains('@') {
        return Err(RAW.to_owned());
    }
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    set("user", decoded(user)?);
    set("password", decoded(password)?);
    let (hosts, ports) = hosts_and_ports(hosts)?;
    set("host", hosts);
    set("port", ports);
    set("dbname", decoded(database)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| unreadable(query, "a parameter has no ="))?;
        let (name, value) = (decoded(name)?, decoded(value)?);
        let (name, value) = match (name.as_str(), value.as_str()) {
            // As other drivers call them.
            ("ssl", "true") => ("sslmode", "require".to_owned()),
            ("ssl-mode", _) => ("sslmode", value),
            ("ssl-root-cert" | "ssl-ca", _) => ("sslrootcert", value),
            ("ssl-cert", _) => ("sslcert", value),
            ("ssl-key", _) => ("sslkey", value),
            (name, _) if NAMES.contains(&name) => (name, value),
            (name, _) => match name.strip_prefix("options[").and_then(|name| name.strip_suffix(']')) {
                Some(name) => ("options", format!("-c {name}={}", value.replace('\\', r"\\").replace(' ', r"\ "))),
                None => return Err(unreadable(query, &format!("there is no parameter `{name}`"))),
            },
        };
        settings.push((name.to_owned(), value));
    }
    Ok(settings)
}

/// With an @ in it, what looks like parameters may well be the rest of a password.
fn unreadable(query: &str, why: &str) -> String {
    if query.contains('@') { RAW.to_owned() } else { why.to_owned() }
}

/// The lists of hosts and of ports, each separated by commas.
fn hosts_and_ports(text: &str) -> Result<(String, String), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or("a [ of an IPv6 address is not closed by ]")?;
                (host.to_owned(), after.strip_prefix(':').unwrap_or_default())
            }
            None => {
                let (host, port) = one.split_once(':').unwrap_or((one, ""));
                (decoded(host)?, port)
            }
        };
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            // Not shown: it may be a password that has ended up there.
            return Err(format!("its port is not a number (an IPv6 address stands in [ ]), or {RAW}"));
        }
        hosts.push(host);
        ports.push(port);
    }
    let ports = if ports.iter().all(|port| port.is_empty()) { String::new() } else { ports.join(",") };
    Ok((hosts.join(","), ports))
}

fn decoded(text: &str) -> Result<String, String> {
    let broken = || RAW.to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(broken);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(broken)
}

/// `name = value` after `name = value`; a value with spaces stands in single quotes, in which a
/// backslash escapes.
fn keywords(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let after_password = settings.last().is_some_and(|(name, _): &(String, String)| name.contains("password"));
        let quote = "a value with spaces stands in single quotes, '...'";
        let wrong = |why: String| {
            if after_password { format!("what follows its password is no setting: {quote}") } else { why }
        };
        let (name, after) = rest.split_once('=').ok_or_else(|| wrong(format!("a setting has no =; {quote}")))?;
        let name = name.trim();
        if !NAMES.contains(&name) {
            return Err(wrong(format!("there is no parameter `{name}`; {quote}")));
        }
        let (value, after) = value(after.trim_start())?;
        settings.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(settings)
}

/// The value that a text begins with, and the rest.
fn value(text: &str) -> Result<(String, &str), String> {
    let (text, quoted) = text.strip_prefix('\'').map_or((text, false), |text| (text, true));
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            blank if blank.is_whitespace() && !quoted => return Ok((value, &text[at..])),
            character => value.push(character),
        }
    }
    if quoted { Err("a ' is not closed".to_owned()) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let settings = parse(text).unwrap();
        settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_url_is_taken_apart_as_libpq_does_it() {
        for (url, expected) in [
            ("postgresql://", ""),
            ("postgres://host", "host=host"),
            ("postgres://me@[::1]:5433/db", "user=me host=::1 port=5433 dbname=db"),
            ("postgres://me:p%40s@a:1,b:2,[fe80::1]/d", "user=me password=p@s host=a,b,fe80::1 port=1,2, dbname=d"),
            ("postgres://%2Fvar%2Frun/db", "host=/var/run dbname=db"),
            ("postgres:///db?host=/tmp&port=6", "dbname=db host=/tmp port=6"),
            ("postgres://h/d?options=-csearch_path%3Da", "host=h dbname=d options=-csearch_path=a"),
            ("postgres://h/d?options[a.b]=x%20y", r"host=h dbname=d options=-c a.b=x\ y"),
            ("postgres://h/d?ssl=true", "host=h dbname=d sslmode=require"),
            // What libpq takes, raw as it is.
            ("postgres://me:a:b#c?d@h/d", "user=me password=a:b#c?d host=h dbname=d"),
            ("host=h  dbname = 'my db' password='it\\'s'", "host=h dbname=my db password=it's"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn a_password_that_needs_encoding_is_said_so_and_no_piece_of_it_is_shown() {
        for (url, said) in [
            ("postgres://me:a@hunter2@h/d", "percent-encoded"),
            ("postgres://me:a/hunter2@h/d", "percent-encoded"),
            ("postgres://me:hunter2/b@h/d", "percent-encoded"),
            ("postgres://me:hunter2%@h/d", "percent-encoded"),
            ("postgres://me:1/x?hunter2@h/d", "percent-encoded"),
            ("postgres://me:1/x?hunter2=y@h/d", "percent-encoded"),
            ("postgres://me:a@b?hunter2=y@h/d", "percent-encoded"),
            ("postgres://me:hunter2", "port is not a number"),
            ("host=h password=a hunter2=b", "single quotes"),
            ("host=h password=a hunter2", "single quotes"),
            ("host=h password='hunter2", "not closed"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(said) && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn a_parameter_that_is_none_is_refused_by_name() {
        assert!(parse("postgres://h/d?pgbouncer=true").unwrap_err().contains("`pgbouncer`"));
        assert!(parse("host=h colour=red").unwrap_err().contains("`colour`"));
        assert!(parse("mysql://h").is_err() && parse("nonsense").is_err() && parse("").is_err());
    }
}
