//! Processes that train together: our own copies, or those that torchrun started.

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use service::Secret;
use trainer::Replica;
use trainer::copies::{Copies, TOKEN, random_word};

/// Where this process stands among several. torchrun sets all of it in the environment.
#[derive(clap::Args)]
pub struct ReplicaFlags {
    /// Train with N processes on this machine; each takes 1/N of every batch and of the threads,
    /// and on the CPU the result is that of one process
    #[arg(long, value_name = "N")]
    data_parallel: Option<usize>,

    /// Number of this process among several, as torchrun starts them
    #[arg(long, env = "RANK")]
    rank: Option<usize>,

    /// Number of processes
    #[arg(long, env = "WORLD_SIZE")]
    world_size: Option<usize>,

    /// Number of this process among those of its machine, and of the GPU that it takes [default:
    /// that of --rank]
    #[arg(long, env = "LOCAL_RANK")]
    local_rank: Option<usize>,

    /// Host of process 0
    #[arg(long, env = "MASTER_ADDR", default_value = "127.0.0.1")]
    master_addr: String,

    /// Port on which process 0 waits for the others
    // A text until it is needed: Kubernetes gives the variable another sense where a service is
    // called `master`.
    #[arg(long, env = "MASTER_PORT", default_value = "29500")]
    master_port: String,

    /// Whether torchrun keeps a store of its own at the port: then ours is the next one
    #[arg(long, env = "TORCHELASTIC_USE_AGENT_STORE", hide = true, value_parser = clap::builder::BoolishValueParser::new())]
    agent_store: Option<bool>,
}

impl ReplicaFlags {
    /// Our place, and the copies of this process that take the others.
    ///
    /// # Errors
    /// A place that does not exist, a copy that cannot be started.
    pub fn start(&self) -> Result<(Option<Replica>, Copies)> {
        if let (Some(rank), Some(count)) = (self.rank, self.world_size) {
            let port =
                self.master_port.parse::<u16>().with_context(|| format!("master-port is {}", self.master_port))?;
            let port = port + u16::from(self.agent_store.unwrap_or(false));
            let local_rank = self.local_rank.unwrap_or(rank);
            if count == 1 {
                return Ok((None, Copies::none()));
            }
            let address = format!("{}:{port}", self.master_addr);
            let replica = Replica { rank, count, address, local_rank, token: self.token()? };
            return Ok((Some(replica), Copies::none()));
        }
        let count = self.processes();
        if count == 1 {
            return Ok((None, Copies::none()));
        }
        let (replica, copies) = Copies::start(count, &[])?;
        Ok((Some(replica), copies))
    }

    /// What the processes of this run know: from the environment, else, on one machine, from a file
    /// that this user alone can read.
    fn token(&self) -> Result<Secret> {
        if let Some(token) = std::env::var(TOKEN).ok().filter(|token| !token.is_empty()) {
            return Ok(token.into());
        }
        let here = ["127.0.0.1", "::1", "[::1]", "localhost"].contains(&self.master_addr.as_str());
        ensure!(
            here,
            "processes on several machines need a secret that they share, so that nobody else joins: set {TOKEN} to the \
            same random word for all of them"
        );
        let file = service::directories::work(None)?.join("replicas.token");
        // Whichever process comes first makes it; the rename puts it there whole.
        if !file.exists() {
            let mut made = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(&file))?;
            made.write_all(random_word()?.as_bytes())?;
            let _ = made.persist_noclobber(&file);
        }
        Ok(std::fs::read_to_string(&file).with_context(|| file.display().to_string())?.into())
    }

    /// Processes on this machine that share its cores.
    pub fn processes(&self) -> usize {
        self.data_parallel.unwrap_or(1).max(1)
    }
}
