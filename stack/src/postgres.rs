//! A private Postgres server.

mod binaries;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use crate::machine::{free_port, open_to_all, random_word, wait_for};
use crate::server::{LOG, Launch, Server};

/// The superuser of the private server.
const ROLE: &str = "labelstream";

/// A Postgres server with its own data, on 127.0.0.1, with a random password; safe on disk (`fsync`
/// is on) until it is dropped.
///
/// It uses the newest server binaries it finds on the machine, and fetches some where there are
/// none. Started by root, it runs as the user `postgres`, or `nobody`, because Postgres refuses to
/// run as root.
pub struct Postgres {
    // Declared before the directory: the server ends before its files go.
    server: Option<Server>,
    binaries: PathBuf,
    user: Option<(Uid, Gid)>,
    port: u16,
    password: String,
    directory: TempDir,
}

impl Postgres {
    /// Makes a new database cluster and starts it. Takes about two seconds.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&binaries::find_or_fetch()?)
    }

    /// The same with all its files below a directory that any user can reach, such as a
    /// [`SmallDisk`](crate::SmallDisk), which needs 100 MiB for an empty one.
    pub fn start_in(place: &Path) -> anyhow::Result<Self> {
        let mut postgres = Self::new(&binaries::find_or_fetch()?, Some(place))?;
        postgres.initialise()?;
        postgres.start_somewhere()?;
        Ok(postgres)
    }

    /// The same with the server binaries of one directory.
    fn start_with(binaries: &Path) -> anyhow::Result<Self> {
        let mut postgres = Self::new(binaries, None)?;
        postgres.initialise()?;
        postgres.start_somewhere()?;
        Ok(postgres)
    }

    fn new(binaries: &Path, place: Option<&Path>) -> anyhow::Result<Self> {
        let user = unprivileged_user()?;
        let directory = directory_of(user, place)?;
        let password = random_word::<16>()?;
        Ok(Self { server: None, binaries: binaries.to_path_buf(), user, port: 0, password, directory })
    }

    /// A copy of this running server that follows it, asynchronously, and only reads until it is
    /// promoted. It fetches what happens here from `address`: this server's own, or that of a proxy
    /// which leads there, so that it can be held back.
    ///
    /// # Errors
    /// Among others, a machine without `pg_basebackup`.
    pub fn start_replica(&self, address: SocketAddr) -> anyhow::Result<Self> {
        let mut replica = Self::new(&self.binaries, None)?;
        replica.password.clone_from(&self.password);
        // PATH may hold links to some of the programs only.
        let server = fs::canonicalize(self.binaries.join("postgres")).context("cannot find postgres")?;
        let primary = format!("postgres://{ROLE}:{}@{address}/postgres", self.password);
        let mut copy = Command::new(server.with_file_name("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            .args(["--dbname", &primary, "--pgdata"])
            .arg(replica.data());
        replica.run(&mut copy)?;
        replica.start_somewhere()?;
        Ok(replica)
    }

    /// Makes a replica a primary: it writes from now on, on top of what it has.
    pub fn promote(&self) -> anyhow::Result<()> {
        self.execute("select pg_promote()")
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.directory.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    fn start_somewhere(&mut self) -> anyhow::Result<()> {
        // Another process can take the port between our look and the server's: then the next one
        // serves as well.
        let mut tries = 0;
        loop {
            self.port = free_port()?;
            match self.start_again() {
                Err(_) if tries < 3 => tries += 1,
                started => return started,
            }
        }
    }

    /// The address of a database of this server, password included.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// Creates an empty database and returns its address.
    pub fn create_database(&self, name: &str) -> anyhow::Result<String> {
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
        ensure!(name.chars().all(plain), "{name:?} is no plain database name");
        let created = self.execute(&format!(r#"create database "{name}""#));
        created.with_context(|| format!("cannot create the database {name}"))?;
        Ok(self.url(name))
    }

    /// Runs a statement in the database `postgres`, as the superuser.
    pub fn execute(&self, statement: &str) -> anyhow::Result<()> {
        let url: sqlx::postgres::PgConnectOptions = self.url("postgres").parse()?;
        wait_for(async move {
            let mut connection = url.connect().await?;
            sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
            Ok(connection.close().await?)
        })
    }

    /// The process id of the server; zero while it is stopped.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::pid)
    }

    /// Stops the server (a "fast shutdown": open transactions are rolled back, the data is flushed)
    /// and waits for its end.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Ends the server with SIGKILL, as a crash would, and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), Server::kill)
    }

    /// Starts the stopped or killed server on the same port and data.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "postgres runs already");
        // After a kill its other processes need a moment to notice; until then the data is not
        // free.
        let mut tries = 0;
        loop {
            match self.launch() {
                Err(error) if tries < 10 && format!("{error:#}").contains("shared memory block") => tries += 1,
                launched => return launched.map(|server| self.server = Some(server)),
            }
        }
    }

    fn initialise(&self) -> anyhow::Result<()> {
        let password_file = self.directory.path().join("password");
        fs::write(&password_file, &self.password)?;
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
        let mut initdb = Command::new(self.binaries.join("initdb"));
        initdb
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--username", ROLE])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("--pgdata")
            .arg(self.data());
        if let Some((user, group)) = self.user {
            chown(&password_file, Some(user.as_raw()), Some(group.as_raw()))?;
        }
        self.run(&mut initdb)?;
        Ok(fs::remove_file(&password_file)?)
    }

    /// Runs one of the server's programs to its end, as the server's user.
    fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        command.current_dir(&self.directory).stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user.as_raw()).gid(group.as_raw());
        }
        let program = command.get_program().display().to_string();
        let output = command.output().with_context(|| format!("cannot run {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} failed: {}", said.trim());
        Ok(())
    }

    fn launch(&self) -> anyhow::Result<Server> {
        let mut command = Command::new(self.binaries.join("postgres"));
        command.arg("-D").arg(self.data());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", &format!("port={}", self.port)] {
            command.args(["-c", setting]);
        }
        let launch = Launch {
            command: &command,
            directory: self.directory.path(),
            stop_signal: Signal::SIGINT,
            abandon_signal: Signal::SIGQUIT,
            user: self.user,
        };
        let server = Server::start(&launch).context("cannot start postgres")?;
        // What `pg_ctl --wait` looks for: the server's own word, and not that of one before it.
        let state = self.data().join("postmaster.pid");
        let pid = server.pid().to_string();
        let is_ready = || {
            let lines = fs::read_to_string(&state).unwrap_or_default();
            let taken = lines.lines().nth(7).map(str::trim);
            lines.lines().next() == Some(&pid) && taken.is_some_and(|state| ["ready", "standby"].contains(&state))
        };
        server.wait_until(Duration::from_secs(60), is_ready).context("cannot start postgres")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// The user to run as where this process is root's.
fn unprivileged_user() -> anyhow::Result<Option<(Uid, Gid)>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some((user.uid, user.gid)));
        }
    }
    bail!("postgres does not run as root, and there is neither a user `postgres` nor `nobody` to run it as")
}

/// A temporary directory of that user, in this place, or in one that the user can reach.
fn directory_of(user: Option<(Uid, Gid)>, place: Option<&Path>) -> anyhow::Result<TempDir> {
    let usual = std::env::temp_dir();
    let reached = || if user.is_none() || open_to_all(&usual) { usual } else { PathBuf::from("/tmp") };
    let place = place.map_or_else(reached, Path::to_owned);
    let directory = tempfile::Builder::new().prefix("labelstream-postgres-").tempdir_in(&place);
    let directory = directory.with_context(|| format!("cannot make a directory in {}", place.display()))?;
    if let Some((user, group)) = user {
        chown(&directory, Some(user.as_raw()), Some(group.as_raw()))?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine's own binaries are passed over; what was fetched before is used again.
    #[test]
    #[ignore = "fetches a server over the network, once: cargo test -p stack -- --ignored"]
    fn a_machine_without_postgres_gets_one() -> anyhow::Result<()> {
        let postgres = Postgres::start_with(&binaries::fetch()?)?;
        postgres.create_database("fetched").map(drop)
    }
}
