//! How a run is carried out: on what, and what it keeps on the way. The model that it makes is the
//! same with others, but for the order in which numbers are summed, so neither its manifest nor its
//! fingerprint names them.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use classifier::{Device, DeviceChoice};

use crate::replica::Replica;

/// The options of one run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Threads a batch is spread over on the CPU. The same seed and number of threads give the same
    /// bits.
    pub threads: usize,
    /// Where the model runs.
    pub device: DeviceChoice,
    /// Checkpoints of the run kept beside the best.
    pub save_limit: usize,
    /// A directory where the state of the run is kept, and from which a run that was killed goes
    /// on.
    pub state: Option<PathBuf>,
    /// Steps between two writings of the state; `None`: after each evaluation.
    pub save_steps: Option<usize>,
    /// Our place among processes that train together, each with its share of every batch.
    pub replica: Option<Replica>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            device: DeviceChoice::Auto,
            save_limit: 2,
            state: None,
            save_steps: None,
            replica: None,
        }
    }
}

impl RunOptions {
    /// The device, which is that of our place among several processes.
    ///
    /// # Errors
    /// There is no such device.
    pub(crate) fn open_device(&self) -> Result<Device> {
        let process = self.replica.as_ref().map_or(0, |replica| replica.local_rank);
        self.device.open_for(process).with_context(|| format!("device {}", self.device))
    }

    /// Refuses options under which nothing would run.
    ///
    /// # Errors
    /// The first such option, by its flag's name.
    pub fn check(&self) -> Result<()> {
        ensure!(self.threads >= 1, "threads must be at least 1");
        ensure!(self.save_steps != Some(0), "save-steps must be at least 1");
        Ok(())
    }
}
