//! Where a model runs.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

/// Where a model runs, as a person writes it: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if the program was built with the feature `cuda` and one answers, else the
    /// CPU.
    #[default]
    Auto,
    /// The CPU, with one worker thread a core.
    Cpu,
    /// The GPU with this number; it is an error if there is none.
    Cuda(usize),
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// A GPU that was asked for by name and cannot be opened; `Auto` falls back to the CPU instead.
    pub fn open(self) -> candle_core::Result<Device> {
        self.open_for(0)
    }

    /// Opens the device for one of several processes on this machine: `Auto` takes the GPU of this
    /// number.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_for(self, process: usize) -> candle_core::Result<Device> {
        match self {
            Self::Auto if cfg!(feature = "cuda") => Ok(open_cuda(process).unwrap_or(Device::Cpu)),
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => open_cuda(number),
        }
    }
}

fn open_cuda(number: usize) -> candle_core::Result<Device> {
    let device = Device::new_cuda(number).map_err(gpu::explain)?;
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = &device {
        gpu::keep_memory(device).map_err(gpu::explain)?;
    }
    Ok(device)
}

/// A device name that is none of `auto`, `cpu`, `cuda`, `cuda:N`.
#[derive(Debug, thiserror::Error)]
#[error("unknown device {0:?}: expected auto, cpu, cuda or cuda:N")]
pub struct UnknownDevice(String);

impl FromStr for DeviceChoice {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => name
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| UnknownDevice(name.to_owned())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_reads_back_as_it_was_written() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
    }

    #[test]
    fn an_unknown_device_is_refused_by_name() {
        for name in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
            let error = name.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
    }
}
