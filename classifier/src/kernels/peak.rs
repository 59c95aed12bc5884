//! How fast this machine can multiply and add at all.

use super::machine::vectorised;
#[cfg(target_arch = "x86_64")]
use super::machine::{Avx2, Avx512};

/// Sums that do not wait for each other, in vectors of the widest kind: enough to keep every unit busy.
const SUMS: usize = 24;

/// Multiplies and adds `rounds` times, all in registers, and gives the number of operations.
pub(crate) fn spin(rounds: usize) -> f64 {
    let mut result = 0.0;
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(machine) = Avx512::detect() {
            std::hint::black_box(machine.spin(rounds));
            return (2 * 16 * SUMS * rounds) as f64;
        }
        if let Some(machine) = Avx2::detect() {
            std::hint::black_box(machine.spin(rounds));
            // Half as many registers hold half as many sums.
            return (2 * 8 * SUMS / 2 * rounds) as f64;
        }
    }
    portable_spin(rounds, &mut result);
    std::hint::black_box(result);
    (2 * SUMS * rounds) as f64
}

vectorised! {
    fn portable_spin(rounds: usize, result: &mut f32) {
        let mut sums = [0.5_f32; SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = *sum * 0.999 + 1e-3;
            }
        }
        *result = sums.iter().sum();
    }
}
