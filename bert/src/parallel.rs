//! Independent jobs on all cores: one scoped thread a core, for as long as a call lasts, with
//! nothing to configure and nothing left behind.

use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use candle_core::Result;

/// How many threads can work at once here. The system is asked once: it reads files to answer.
pub fn cores() -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

/// Does every job, on as many threads as there are cores, and gives the results in the order of the
/// jobs.
///
/// Idle threads take the next job, so the longest ones should come first.
///
/// # Errors
/// That of a job that failed.
pub fn map<Job: Sync, Output: Send>(jobs: &[Job], work: impl Fn(&Job) -> Result<Output> + Sync) -> Result<Vec<Output>> {
    let threads = cores().min(jobs.len());
    if threads <= 1 {
        return jobs.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take_jobs = || -> Result<Vec<(usize, Output)>> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else {
                return Ok(done);
            };
            done.push((index, work(job)?));
        }
    };
    let done = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take_jobs)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        results.collect::<Result<Vec<_>>>()
    })?;
    let mut done: Vec<_> = done.into_iter().flatten().collect();
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, output)| output).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u64> = (0..500).rev().collect();
        let square = |job: &u64| {
            // Jobs of different lengths, so that they end out of order.
            (0..job * 100).for_each(|step| _ = std::hint::black_box(step));
            Ok(job * job)
        };
        let expected: Vec<u64> = jobs.iter().map(|job| job * job).collect();
        assert_eq!(map(&jobs, square).unwrap(), expected);
        assert_eq!(map::<u64, u64>(&[], square).unwrap(), Vec::<u64>::new());
    }

    #[test]
    fn a_failed_job_fails_the_call() {
        let jobs: Vec<usize> = (0..50).collect();
        let failing = |job: &usize| {
            if *job == 31 { candle_core::bail!("job 31") } else { Ok(*job) }
        };
        assert!(map(&jobs, failing).unwrap_err().to_string().contains("job 31"));
    }
}
