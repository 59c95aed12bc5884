//! Where Postgres is: what psql connects with, connects here, or is refused by name.
//!
//! sqlx reads some parameters, warns of others and knows one host. So a connection string is read
//! here as libpq reads it, with its files and the PG variables, and each host becomes options that
//! sqlx takes as they are.

mod conninfo;
mod files;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The variables, and the parameters that they stand for.
const VARIABLES: [(&str, &str); 27] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGSERVICE", "service"),
    ("PGSERVICEFILE", "servicefile"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGCLIENTENCODING", "client_encoding"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
];

/// What is the case whatever is asked for, and what may be asked for therefore.
const GIVEN: [(&str, &[&str]); 18] = [
    ("channel_binding", &["disable", "prefer"]),
    ("client_encoding", &["auto", "utf8", "utf-8", "unicode"]),
    ("gssdelegation", &["0"]),
    ("gssencmode", &["disable", "prefer"]),
    ("keepalives", &["1"]),
    ("max_protocol_version", &["3.0", "3.2", "latest"]),
    ("min_protocol_version", &["3.0"]),
    ("replication", &["false", "off", "no", "0"]),
    ("require_auth", &[]),
    ("requirepeer", &[]),
    ("ssl_max_protocol_version", &["tlsv1.3"]),
    ("ssl_min_protocol_version", &["tlsv1", "tlsv1.1", "tlsv1.2"]),
    ("sslcertmode", &["allow"]),
    ("sslcompression", &["0"]),
    ("sslcrl", &[]),
    ("sslcrldir", &[]),
    ("sslnegotiation", &["postgres"]),
    ("sslsni", &["1"]),
];

/// What cannot be done at all.
const IMPOSSIBLE: [&str; 2] = ["sslkeylogfile", "sslpassword"];

/// How long a server may take to let us in, unless the address says.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which of several servers is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

/// A database, and every way to it.
#[derive(Clone)]
pub(crate) struct Address {
    /// One for each host, in the order in which they are tried, and without any setting of a
    /// session.
    pub routes: Vec<PgConnectOptions>,
    /// What the address asks the session to be set to.
    pub settings: Vec<(String, String)>,
    pub session: Session,
    pub patience: Duration,
    has_name: bool,
}

impl Address {
    /// Reads a connection string, and what it leaves out from the service file, the PG variables,
    /// and the password file.
    ///
    /// # Errors
    /// What cannot be read or obeyed, in words that show no value.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::from_parts(conninfo::parse(text)?, |variable| env::var(variable).ok())
    }

    fn from_parts(given: conninfo::Settings, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut settings: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in given {
            match settings.get_mut(&name).filter(|_| name == "options") {
                Some(options) => *options = format!("{options} {value}"),
                None => drop(settings.insert(name, value)),
            }
        }
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let service = settings.remove("service").or_else(|| variable("PGSERVICE"));
        let service_file = settings.remove("servicefile").or_else(|| variable("PGSERVICEFILE"));
        if let Some(service) = service {
            for (name, value) in files::service(&service, service_file.as_deref())? {
                settings.entry(name).or_insert(value);
            }
        }
        for (name, parameter) in VARIABLES {
            if let Some(value) = variable(name).filter(|_| !["service", "servicefile"].contains(&parameter)) {
                settings.entry(parameter.to_owned()).or_insert(value);
            }
        }
        refuse_the_impossible(&settings)?;
        Reader { settings }.address()
    }

    /// The address of each route, for people.
    pub fn shown(options: &PgConnectOptions) -> String {
        match options.get_socket() {
            Some(directory) => format!("{}/.s.PGSQL.{}", directory.display(), options.get_port()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        }
    }

    /// Whether there is another server than the one that was chosen, or another state that it may
    /// be in.
    pub fn has_choice(&self) -> bool {
        self.routes.len() > 1 || self.session != Session::Any
    }

    /// The name that the server is to know us by: as the address says, else ours.
    pub fn named(self, name: &str) -> Self {
        let has_name = self.has_name;
        let named = |options: PgConnectOptions| if has_name { options } else { options.application_name(name) };
        Self { routes: self.routes.into_iter().map(named).collect(), ..self }
    }
}

fn refuse_the_impossible(settings: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in settings {
        let given = GIVEN.iter().find(|(given, _)| given == name).map(|(_, values)| *values);
        let met = given.is_none_or(|values| value.is_empty() || values.contains(&value.to_lowercase().as_str()));
        if !met || IMPOSSIBLE.contains(&name.as_str()) {
            let only = given.filter(|values| !values.is_empty()).map_or_else(
                || ": leave it out".to_owned(),
                |values| format!(", other than by {}", values.join(" or ")),
            );
            return Err(format!("its parameter {name} cannot be obeyed{only}"));
        }
    }
    Ok(())
}

struct Reader {
    settings: BTreeMap<String, String>,
}

impl Reader {
    fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn address(&self) -> Result<Address, String> {
        let mut routes = Vec::new();
        for (host, port) in self.servers()? {
            routes.extend(self.routes(&host, port)?);
        }
        match self.get("load_balance_hosts") {
            None | Some("disable") => {}
            Some("random") => {
                // Enough of a die for this.
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let first = now.subsec_nanos() as usize % routes.len();
                routes.rotate_left(first);
            }
            Some(_) => return Err("its load_balance_hosts is neither disable nor random".to_owned()),
        }
        let patience = match self.get("connect_timeout").map(str::parse::<i64>) {
            None | Some(Ok(..=0)) => PATIENCE,
            // As libpq: one second is too little for anybody.
            Some(Ok(seconds)) => Duration::from_secs(seconds.unsigned_abs().max(2)),
            Some(Err(_)) => return Err("its connect_timeout is not a number of seconds".to_owned()),
        };
        let (settings, session) = (self.session_settings()?, self.session()?);
        Ok(Address { routes, settings, session, patience, has_name: self.name().is_some() })
    }

    fn session(&self) -> Result<Session, String> {
        Ok(match self.get("target_session_attrs") {
            None | Some("any") => Session::Any,
            Some("read-write") => Session::ReadWrite,
            Some("read-only") => Session::ReadOnly,
            Some("primary") => Session::Primary,
            Some("standby") => Session::Standby,
            // What is written needs a primary, and where only reading is asked for, `any` does.
            Some(_) => return Err("its target_session_attrs is none that can be obeyed".to_owned()),
        })
    }

    fn name(&self) -> Option<&str> {
        self.get("application_name").or(self.get("fallback_application_name"))
    }

    /// Hosts (nothing is the usual one) and ports.
    fn servers(&self) -> Result<Vec<(String, u16)>, String> {
        let list = |name: &str| -> Vec<String> {
            self.get(name).map_or_else(Vec::new, |list| list.split(',').map(|one| one.trim().to_owned()).collect())
        };
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        if !addresses.is_empty() && !names.is_empty() {
            if addresses.len() != names.len() {
                return Err("it names as many hosts as hostaddr, or none".to_owned());
            }
            if self.get("sslmode") == Some("verify-full") {
                return Err("its hostaddr cannot be obeyed with sslmode=verify-full: name the host alone".to_owned());
            }
        }
        let mut hosts = if addresses.is_empty() { names } else { addresses };
        if hosts.is_empty() {
            hosts.push(String::new());
        }
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err("it has one port for all hosts, or one for each".to_owned());
        }
        let port = |at: usize| match ports.get(if ports.len() == 1 { 0 } else { at }).map(String::as_str) {
            None | Some("") => Ok(5432),
            Some(port) => port.parse().map_err(|_| "its port is not a number from 1 to 65535".to_owned()),
        };
        hosts.into_iter().enumerate().map(|(at, host)| Ok((host, port(at)?))).collect()
    }

    fn routes(&self, host: &str, port: u16) -> Result<Vec<PgConnectOptions>, String> {
        // What it reads of the environment is set below; the options among it are in `settings`.
        let mut options = PgConnectOptions::new_without_pgpass().port(port);
        let host = if host.is_empty() { usual_host(port) } else { host.to_owned() };
        let is_socket = host.starts_with('/');
        options = if is_socket { options.socket(&host).host("localhost") } else { options.host(&host) };
        if let Some(user) = self.get("user") {
            options = options.username(user);
        }
        let database = self.get("dbname").unwrap_or(options.get_username()).to_owned();
        let user = options.get_username().to_owned();
        let of = [if is_socket { "localhost" } else { &host }, &port.to_string(), &database, &user];
        let password = self.get("password").map(str::to_owned);
        if let Some(password) = password.or_else(|| files::password(self.get("passfile"), of)) {
            options = options.password(&password);
        }
        options = options.database(&database);
        if let Some(name) = self.name() {
            options = options.application_name(name);
        }
        if let Some(capacity) = self.get("statement-cache-capacity") {
            let capacity = capacity.parse().map_err(|_| "its statement-cache-capacity is not a number".to_owned())?;
            options = options.statement_cache_capacity(capacity);
        }
        self.secured(options, is_socket)
    }

    /// The same with what TLS needs, as often as libpq would try.
    fn secured(&self, mut options: PgConnectOptions, is_socket: bool) -> Result<Vec<PgConnectOptions>, String> {
        // There is no TLS on a socket of this machine.
        if is_socket {
            return Ok(vec![options.ssl_mode(PgSslMode::Disable)]);
        }
        let root = self.get("sslrootcert");
        let usual = files::home(".postgresql/root.crt").filter(|_| root.is_none());
        match (root, &usual) {
            (Some("system"), _) | (None, None) => {}
            (Some(file), _) => options = options.ssl_root_cert(files::named("sslrootcert", file)?),
            (None, Some(file)) => options = options.ssl_root_cert(file),
        }
        let has_root = root.is_some() || usual.is_some();
        let certificate = self.get("sslcert").map(|file| files::named("sslcert", file)).transpose()?;
        let key = self.get("sslkey").map(|file| files::named("sslkey", file)).transpose()?;
        let pair = certificate.or_else(|| files::home(".postgresql/postgresql.crt"));
        if let (Some(certificate), Some(key)) = (pair, key.or_else(|| files::home(".postgresql/postgresql.key"))) {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        let usual_mode = if root == Some("system") { "verify-full" } else { "prefer" };
        let modes: &[PgSslMode] = match self.get("sslmode").unwrap_or(usual_mode) {
            "disable" => &[PgSslMode::Disable],
            "allow" => &[PgSslMode::Disable, PgSslMode::Require],
            "prefer" => &[PgSslMode::Prefer],
            // As libpq: who gives a root wants it to be looked at.
            "require" if has_root => &[PgSslMode::VerifyCa],
            "require" => &[PgSslMode::Require],
            "verify-ca" => &[PgSslMode::VerifyCa],
            "verify-full" => &[PgSslMode::VerifyFull],
            _ => {
                return Err("its sslmode is none of disable, allow, prefer, require, verify-ca, verify-full".to_owned());
            }
        };
        Ok(modes.iter().map(|mode| options.clone().ssl_mode(*mode)).collect())
    }

    /// What `options` sets, and what keeps a connection alive, which the server does as well.
    fn session_settings(&self) -> Result<Vec<(String, String)>, String> {
        let mut settings = self.get("options").map_or(Ok(Vec::new()), session_options)?;
        for (parameter, setting) in [
            ("keepalives_idle", "tcp_keepalives_idle"),
            ("keepalives_interval", "tcp_keepalives_interval"),
            ("keepalives_count", "tcp_keepalives_count"),
            ("tcp_user_timeout", "tcp_user_timeout"),
        ] {
            settings.extend(self.get(parameter).map(|value| (setting.to_owned(), value.to_owned())));
        }
        Ok(settings)
    }
}

/// `-c name=value`, `-cname=value` and `--name=value`; a backslash escapes a space.
fn session_options(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => words.iter_mut().last().into_iter().for_each(|word| word.extend(characters.next())),
            blank if blank.is_whitespace() => words.push(String::new()),
            character => words.iter_mut().last().into_iter().for_each(|word| word.push(character)),
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or(word.strip_prefix("-c")) {
            Some("") => words.next(),
            Some(setting) => Some(setting.to_owned()),
            None => None,
        };
        let setting = setting.as_deref().and_then(|setting| setting.split_once('='));
        let (name, value) = setting.ok_or("its options are not all of the form -c name=value")?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// The socket's directory where there is a server, else this machine.
fn usual_host(port: u16) -> String {
    let directories = ["/var/run/postgresql", "/run/postgresql", "/tmp"];
    let found = directories.iter().find(|directory| Path::new(directory).join(format!(".s.PGSQL.{port}")).exists());
    found.map_or_else(|| "localhost".to_owned(), |directory| (*directory).to_owned())
}

#[cfg(test)]
mod tests;
