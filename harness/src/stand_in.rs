//! A program with the feature `cuda` on a machine without a GPU.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Programs whose CUDA is a stand-in that runs kernels on the CPU: `gpu/stand_in/build DIRECTORY`
/// makes them, and `LABELSTREAM_STAND_IN` names the directory.
pub struct StandIn(PathBuf);

impl StandIn {
    /// The one at hand; where there is none that is said.
    pub fn find() -> Option<Self> {
        let Some(directory) = env::var_os("LABELSTREAM_STAND_IN") else {
            stack::not_run("set LABELSTREAM_STAND_IN to a directory that gpu/stand_in/build has made");
            return None;
        };
        Some(Self(directory.into()))
    }

    /// A command that runs one of the programs; what it did on the device goes to `report` when it
    /// ends.
    pub fn command(&self, program: &str, report: &Path) -> Command {
        let mut command = crate::command(self.0.join(program));
        command.env("LD_LIBRARY_PATH", self.0.join("lib64")).env("STAND_IN_REPORT", report);
        command
    }
}

/// What a program did on the stand-in's device.
pub struct DeviceReport(Value);

impl DeviceReport {
    /// Reads what a program has left there.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("the program has written what it did");
        Self(serde_json::from_str(&text).expect("what it did is JSON"))
    }

    /// A number by its path, such as `/left/bytes`; 0 where there is none.
    pub fn number(&self, path: &str) -> u64 {
        self.0.pointer(path).and_then(Value::as_u64).unwrap_or(0)
    }

    /// The functions of CUDA that were called, and how often.
    pub fn calls(&self) -> impl Iterator<Item = (&str, u64)> {
        let calls = self.0["calls"].as_object().expect("the calls are an object");
        calls.iter().map(|(name, count)| (name.as_str(), count.as_u64().expect("a number of calls")))
    }
}
