//! A service as a process.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

pub use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::{Http, until, until_some};

/// A command that runs one of the workspace's programs, without anything of this environment that
/// would configure it.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("LABELSTREAM_") {
            command.env_remove(variable);
        }
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// A running `consumer` or `trainer`, and its pages. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    http: Http,
}

impl Process {
    /// Starts a service, which listens on a port of its own; its output goes to `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let http = Http::on_a_free_port();
        let output = File::options().create(true).append(true).open(&log).expect("the log can be written");
        let child = command
            .args(["--http", &http.address.to_string()])
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .spawn()
            .expect("the service can be run");
        let program = PathBuf::from(command.get_program());
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, child, log, http }
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had, in MiB; `None` where the system does not tell.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? / 1024)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the service can be signalled");
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits for its end and returns the exit code; `None` where a signal ended it.
    pub async fn exit_code(&mut self) -> Option<i32> {
        until_some(&format!("the {}'s end", self.name), async || self.ended()).await.code()
    }

    /// Waits until it says that it serves.
    pub async fn until_ready(&mut self) {
        until(&format!("a ready {}", self.name), async || {
            assert!(self.ended().is_none(), "the {} ended:\n{}", self.name, self.log());
            self.get("/health/ready").0 == 200
        })
        .await;
    }

    /// Waits until its output contains `text`.
    pub async fn until_it_says(&self, text: &str) {
        until(&format!("a {} that says {text:?}", self.name), async || self.log().contains(text)).await;
    }
}

impl Deref for Process {
    type Target = Http;

    fn deref(&self) -> &Http {
        &self.http
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the log of the {} ---\n{}", self.name, self.log());
        }
    }
}
