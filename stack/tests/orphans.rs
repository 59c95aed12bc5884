//! Servers end with the process that started them, however it ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack::Postgres;

/// Set for the process that a test starts from its own binary, to be killed.
const MARK: &str = "LABELSTREAM_TEST_PARENT";

#[test]
fn a_server_and_its_files_go_when_the_parent_is_killed() -> anyhow::Result<()> {
    ends_with_its_parent(Signal::SIGKILL)
}

#[test]
fn a_server_and_its_files_go_when_the_parent_is_interrupted() -> anyhow::Result<()> {
    ends_with_its_parent(Signal::SIGINT)
}

/// Not a test of its own: the parent that the tests above end.
#[test]
#[ignore = "run by the other tests"]
fn parent() -> anyhow::Result<()> {
    if env::var_os(MARK).is_none() {
        return Ok(());
    }
    let postgres = Postgres::start()?;
    // Postgres works in its data directory, which lies in the directory that is to go.
    let directory = std::fs::read_link(format!("/proc/{}/cwd", postgres.pid()))?;
    println!("\nserver {} {}", postgres.pid(), directory.display());
    loop {
        thread::park();
    }
}

fn ends_with_its_parent(signal: Signal) -> anyhow::Result<()> {
    let mut parent = Command::new(env::current_exe()?)
        .args(["--exact", "parent", "--include-ignored", "--nocapture"])
        .env(MARK, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (server, directory) = announced(&mut parent).expect("the parent announces its server");
    assert!(is_alive(server), "the server must run while its parent does");

    kill(Pid::from_raw(parent.id().cast_signed()), signal)?;
    parent.wait()?;
    wait_until("the server's end", || !is_alive(server));
    wait_until("the removal of its files", || Path::new(&directory).parent().is_some_and(|files| !files.exists()));
    Ok(())
}

fn announced(parent: &mut Child) -> Option<(Pid, String)> {
    let lines = BufReader::new(parent.stdout.take()?).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("server "))?;
    let mut words = line.split_whitespace().skip(1);
    Some((Pid::from_raw(words.next()?.parse().ok()?), words.next()?.to_owned()))
}

fn is_alive(process: Pid) -> bool {
    kill(process, None).is_ok()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
