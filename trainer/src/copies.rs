//! Copies of this process that train together with it.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::replica::Replica;

/// The variable of what the processes of a run know; in no command line, which everybody can read.
pub const TOKEN: &str = "LABELSTREAM_REPLICAS_TOKEN";

/// Copies of this process; those that still run when we end are ended.
#[derive(Debug)]
pub struct Copies(Vec<Child>);

impl Copies {
    /// None at all.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Starts as many copies as make `count` processes with this one, each with this process's own
    /// flags, its place in torchrun's variables, and these ones besides. The place of this process
    /// is the first.
    ///
    /// # Errors
    /// A copy that cannot be started.
    pub fn start(count: usize, variables: &[(&str, String)]) -> Result<(Replica, Self)> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = free.context("there is no free port for the copies of this process")?;
        let token = random_word()?;
        let mut copies = Self::none();
        for rank in 1..count {
            copies.0.push(copy(rank, count, address.port(), &token, variables)?);
        }
        let replica = Replica { rank: 0, count, address: address.to_string(), local_rank: 0, token: token.into() };
        Ok((replica, copies))
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// One that failed.
    pub fn finish(mut self) -> Result<()> {
        for mut child in self.0.drain(..) {
            let status = child.wait()?;
            ensure!(status.success(), "a copy of this process ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Threads of each of so many processes.
pub fn threads_of_each(threads: usize, processes: usize) -> usize {
    (threads / processes).max(1)
}

/// A word that nobody guesses.
///
/// # Errors
/// A system without random numbers.
pub fn random_word() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// This process again, with the same flags, in another place.
fn copy(rank: usize, count: usize, port: u16, token: &str, variables: &[(&str, String)]) -> Result<Child> {
    let program = std::env::current_exe().context("it is unknown where this program is")?;
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", count.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .env(TOKEN, token)
        .env_remove("LOCAL_RANK")
        .env_remove("TORCHELASTIC_USE_AGENT_STORE")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("a copy of this process cannot be started")
}
