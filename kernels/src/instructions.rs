//! The sets of vector instructions that are told apart.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// The vector instructions of a CPU, each kind with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    /// Those that every CPU has.
    Baseline,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512, with VNNI where the machine has it.
    Avx512,
}

/// The most that is used of what the machine has, as a number.
static LIMIT: AtomicU8 = AtomicU8::new(Instructions::Avx512 as u8);

impl Instructions {
    const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Avx512];

    /// From now on no others are used in this process, so that what a machine without them does can
    /// be measured on this one.
    pub fn limit(self) {
        LIMIT.store(self as u8, Ordering::Relaxed);
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn may_be_used(self) -> bool {
        self as u8 <= LIMIT.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

/// A name that is no instructions'.
#[derive(Debug, thiserror::Error)]
#[error("unknown instructions {0:?}: expected baseline, avx2 or avx512")]
pub struct UnknownInstructions(String);

impl FromStr for Instructions {
    type Err = UnknownInstructions;

    fn from_str(name: &str) -> Result<Self, UnknownInstructions> {
        Self::ALL.into_iter().find(|one| one.to_string() == name).ok_or_else(|| UnknownInstructions(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_read_back_as_they_were_written_and_others_are_refused() {
        for instructions in Instructions::ALL {
            assert_eq!(instructions.to_string().parse::<Instructions>().unwrap(), instructions);
        }
        assert!("sse".parse::<Instructions>().unwrap_err().to_string().contains("\"sse\""));
    }
}
