//! A server process that ends with this process, however this process ends.
//!
//! The server runs under a small shell script, the keeper, which waits for the end of a pipe that
//! only this process holds. When this process exits, is killed, or closes the pipe, the keeper
//! stops the server by its process id.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid};

use crate::machine::poll_until;

/// The keeper. Its arguments: the signals of [`Launch`], the server's directory, the server's
/// command.
///
/// - The end of the pipe means "stop". Without the file `stopped` it also means that nobody is left to want the files.
/// - The server reads nothing and does not hold the pipe.
/// - The server ending on its own ends the keeper too. The keeper leads a process group of its own, in which only the
///   server and the script itself live, so that the last line leaves nothing behind.
const KEEPER: &str = r#"
stop=$1 abandon=$2 directory=$3
shift 3
exec 3<&0
"$@" </dev/null >&2 3<&- &
server=$!
echo "$server"
exec >&2
{
    read -r end <&3
    if [ -e "$directory/stopped" ]; then kill -"$stop" "$server"
    else : >"$directory/abandoned"; kill -"$abandon" "$server"; fi
    waited=0
    while [ "$waited" -lt 30 ]; do sleep 1; waited=$((waited + 1)); done
    kill -KILL "$server"
} 2>/dev/null &
wait "$server"
if [ -e "$directory/abandoned" ]; then rm -rf "$directory"; fi
kill -KILL 0
"#;

/// The name of the file in a server's directory that takes its output.
pub const LOG: &str = "server.log";

/// How to start a server.
pub struct Launch<'a> {
    /// The program and its arguments.
    pub command: &'a Command,
    /// Its working directory, which holds everything it writes, its log among it.
    pub directory: &'a Path,
    /// The signal that makes it stop quickly and cleanly.
    pub stop_signal: Signal,
    /// The signal that ends it and all that belongs to it at once: nobody wants its files any more.
    pub abandon_signal: Signal,
    /// The user it runs as, where not this process's own.
    pub user: Option<(Uid, Gid)>,
}

/// A running server. Dropping it ends it and takes its directory away.
pub struct Server {
    keeper: Child,
    pid: Pid,
    log: PathBuf,
    stopped: PathBuf,
}

impl Server {
    /// Starts the command of `launch`; its output goes to [`LOG`] in its directory.
    pub fn start(launch: &Launch) -> anyhow::Result<Self> {
        let log = launch.directory.join(LOG);
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        let stopped = launch.directory.join("stopped");
        // Left by the stop before this start.
        let _ = fs::remove_file(&stopped);
        let mut keeper = Command::new("sh");
        let name = |signal: Signal| signal.as_str().trim_start_matches("SIG");
        keeper
            .args(["-c", KEEPER, "keeper", name(launch.stop_signal), name(launch.abandon_signal)])
            .arg(launch.directory)
            .arg(launch.command.get_program())
            .args(launch.command.get_args())
            .current_dir(launch.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            // Ctrl-C in a terminal goes to the whole process group of the program there; the server
            // is stopped by us.
            .process_group(0);
        if let Some((user, group)) = launch.user {
            keeper.uid(user.as_raw()).gid(group.as_raw());
        }
        let mut keeper = keeper.spawn().context("cannot start sh")?;
        let mut pid = String::new();
        let stdout = keeper.stdout.take().expect("stdout was asked for as a pipe: its absence is a bug");
        BufReader::new(stdout).read_line(&mut pid).context("cannot read the server's process id")?;
        let pid = pid.trim().parse().map(Pid::from_raw).with_context(|| tail_of(&log))?;
        Ok(Self { keeper, pid, log, stopped })
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Waits until `ready` says yes. The end of the server or of `limit` is an error that shows the
    /// end of its log; the files stay.
    pub fn wait_until(mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> anyhow::Result<Self> {
        let mut ended = false;
        let answered = poll_until(limit, || {
            ended = self.has_ended();
            ended || ready()
        });
        if answered && !ended {
            return Ok(self);
        }
        let log = self.log.clone();
        self.stop();
        ensure!(!ended, "the server ended at once:\n{}", tail_of(&log));
        bail!("the server was not ready after {} s:\n{}", limit.as_secs(), tail_of(&log));
    }

    /// Stops the server in its orderly way and waits for its end; its files stay.
    pub fn stop(self) {
        self.keep_files();
    }

    /// Ends the server with SIGKILL and waits for its end; its files stay.
    pub fn kill(mut self) -> anyhow::Result<()> {
        // The keeper reaps the server as it ends: while the keeper lives, the process id is the
        // server's.
        self.keep_files();
        if !self.has_ended() {
            kill(self.pid, Signal::SIGKILL).context("cannot kill the server")?;
        }
        Ok(())
    }

    /// Sends the server a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(self.pid, signal).with_context(|| format!("cannot send {signal}"))
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.keeper.try_wait(), Ok(None))
    }

    fn keep_files(&self) {
        // Where the note cannot be written the disk is full or the directory gone, and nothing can
        // be kept.
        let _ = File::create(&self.stopped);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Waiting closes the pipe.
        let _ = self.keeper.wait();
    }
}

/// The last lines of a log, for an error message.
fn tail_of(log: &Path) -> String {
    let text = fs::read(log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
