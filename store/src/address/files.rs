//! The files in which libpq looks for what a connection string leaves out.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::conninfo::Settings;

/// The settings of a service.
/// <https://www.postgresql.org/docs/current/libpq-pgservice.html>
pub fn service(name: &str, file: Option<&str>) -> Result<Settings, String> {
    let system = env::var_os("PGSYSCONFDIR").map_or_else(|| PathBuf::from("/etc/postgresql-common"), PathBuf::from);
    let files = match file {
        Some(file) => vec![PathBuf::from(file)],
        None => home(".pg_service.conf").into_iter().chain([system.join("pg_service.conf")]).collect(),
    };
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if let Some(settings) = section(&text, name) {
            return settings.map_err(|why| format!("{}: {why}", file.display()));
        }
    }
    Err(format!("there is no service `{name}` in ~/.pg_service.conf or the file of PGSERVICEFILE"))
}

fn section(text: &str, name: &str) -> Option<Result<Settings, String>> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != format!("[{name}]"));
    lines.next()?;
    let settings =
        lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // A line without `=` may be a password that was broken in two.
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    Some(settings.map(|line| pair(line).ok_or_else(|| format!("a line of [{name}] has no ="))).collect())
}

/// The password of a server's database and user in a password file, if there is one.
/// <https://www.postgresql.org/docs/current/libpq-pgpass.html>
pub fn password(file: Option<&str>, of: [&str; 4]) -> Option<String> {
    let file = file.map(PathBuf::from).or_else(|| home(".pgpass"))?;
    // As libpq: a password file that others may read is not read.
    let closed = fs::metadata(&file).is_ok_and(|found| found.permissions().mode() & 0o077 == 0);
    let text = fs::read_to_string(&file).ok().filter(|_| closed)?;
    let fits = |fields: &[String]| of.iter().zip(fields).all(|(wanted, field)| field == "*" || field == wanted);
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(fields);
    lines.filter(|fields| fields.len() == 5 && fits(fields)).find_map(|mut fields| fields.pop())
}

/// Up to five fields between colons, in which a backslash escapes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.iter_mut().last().into_iter().for_each(|field| field.extend(characters.next())),
            character => fields.iter_mut().last().into_iter().for_each(|field| field.push(character)),
        }
    }
    fields
}

/// A file in the user's home, where there is one.
pub fn home(name: &str) -> Option<PathBuf> {
    env::home_dir().map(|home| home.join(name)).filter(|file| file.is_file())
}

/// A file that is named must be there.
pub fn named(parameter: &str, file: &str) -> Result<PathBuf, String> {
    match fs::metadata(file) {
        Ok(found) if found.is_file() => Ok(Path::new(file).to_owned()),
        _ => Err(format!("its {parameter} names no file that can be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_read_line_by_line_and_only_where_it_is_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgpass");
        fs::write(&file, "# all\nother:5432:*:me:no\nho\\:st:*:db:me:p\\:a:s\\\\s\n*:*:*:*:last\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let of = |host, user| password(file.to_str(), [host, "5432", "db", user]);
        assert_eq!(of("ho:st", "me").as_deref(), Some("p:a:s\\s"));
        assert_eq!(of("host", "me").as_deref(), Some("last"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(of("host", "me"), None);
    }

    #[test]
    fn a_service_is_the_lines_below_its_name() {
        let text = "# mine\n[one]\nhost=a\n\n[two]\nhost = b\n# no\nport=1\n[three]\nhost=c";
        let two = section(text, "two").unwrap().unwrap();
        assert_eq!(two, [("host".to_owned(), "b".to_owned()), ("port".to_owned(), "1".to_owned())]);
        assert!(section(text, "four").is_none());
        assert!(section("[a]\nhunter2", "a").unwrap().is_err_and(|error| !error.contains("hunter2")));
    }
}
