//! One scoped thread a core, for as long as a call lasts: nothing to configure, nothing left behind.

use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use candle_core::Result;

use crate::kernels::spin;

/// How many threads can work at once here. The system is asked once: it reads files to answer.
pub(crate) fn cores() -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

/// Does every job, on as many threads as there are cores, and gives the results in the order of the jobs.
///
/// Idle threads take the next job, so the longest ones should come first.
pub(crate) fn map<Job: Sync, Output: Send>(
    jobs: &[Job],
    work: impl Fn(&Job) -> Result<Output> + Sync,
) -> Result<Vec<Output>> {
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

/// How many multiplications and additions this machine can do a second on all cores, measured for a tenth of a second: the limit
/// of what a model can reach in f32.
pub fn peak_operations() -> f64 {
    const ROUNDS: usize = 100_000;
    let work = |_: &usize| {
        let (started, mut done) = (Instant::now(), 0.0);
        while started.elapsed() < Duration::from_millis(100) {
            done += spin(ROUNDS);
        }
        Ok(done / started.elapsed().as_secs_f64())
    };
    let rates = map(&(0..cores()).collect::<Vec<_>>(), work);
    rates.expect("the work cannot fail: anything else is a bug").iter().sum()
}

/// Does every job on a thread of its own, the first on the caller's.
pub(crate) fn each<Job: Send>(
    jobs: impl IntoIterator<Item = Job>,
    work: impl Fn(Job) -> Result<()> + Sync,
) -> Result<()> {
    let mut jobs = jobs.into_iter();
    let Some(first) = jobs.next() else { return Ok(()) };
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = jobs.map(|job| scope.spawn(move || work(job))).collect();
        let mut results = vec![work(first)];
        results.extend(others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic))));
        results.into_iter().collect()
    })
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
