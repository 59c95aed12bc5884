//! How fast this machine can multiply and add at all.

use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_arch = "x86_64")]
use super::machine::{Avx2, Avx512};
use crate::vectorised;

/// Sums that do not wait for each other, in vectors of the widest kind: enough to keep every unit
/// busy.
const SUMS: usize = 24;

/// How many multiplications and additions this machine can do a second on all cores, measured for a
/// tenth of a second: the limit of what a model can reach in f32.
pub fn peak_operations() -> f64 {
    const ROUNDS: usize = 100_000;
    let work = || {
        let (started, mut done) = (Instant::now(), 0.0);
        while started.elapsed() < Duration::from_millis(100) {
            done += spin(ROUNDS);
        }
        done / started.elapsed().as_secs_f64()
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("arithmetic does not panic: anything else is a bug"))
            .sum()
    })
}

/// Multiplies and adds `rounds` times, all in registers, and gives the number of operations.
fn spin(rounds: usize) -> f64 {
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
