//! Several workers on one batch, for texts that are too few to give each core some of its own.
//!
//! All of them do the same steps, each some rows of every product and some heads of every
//! attention, and then take over the rows of the others: so a text has the same numbers however
//! many worked on it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use kernels::{Panels, Share};

/// Where the workers leave their rows for each other.
#[derive(Debug)]
struct Team(Vec<Place>);

/// What one worker has done.
#[derive(Debug, Default)]
struct Place {
    /// Steps whose rows have been left.
    done: AtomicUsize,
    /// The rows of the last step and of the one before: somebody may still read the latter.
    rows: [Mutex<Vec<f32>>; 2],
}

/// A worker of a team.
#[derive(Debug, Default)]
pub(super) struct Member {
    /// Nothing where it works alone.
    team: Option<Arc<Team>>,
    number: usize,
    done: usize,
}

/// Has so many workers do the same work, each on a thread of its own, and gives what the first one
/// came to.
pub(super) fn work<Output: Send>(workers: usize, work: impl Fn(Member) -> Output + Sync) -> Output {
    if workers <= 1 {
        return work(Member::default());
    }
    let team = Arc::new(Team((0..workers).map(|_| Place::default()).collect()));
    let member = |number| Member { team: Some(team.clone()), number, done: 0 };
    thread::scope(|scope| {
        for number in 1..workers {
            let (work, member) = (&work, member(number));
            scope.spawn(move || work(member));
        }
        work(member(0))
    })
}

impl Member {
    /// What is this worker's part of anything.
    pub fn share(&self) -> Share {
        self.share_of(self.number)
    }

    fn share_of(&self, number: usize) -> Share {
        Share { number, of: self.team.as_ref().map_or(1, |team| team.0.len()) }
    }

    /// Leaves this worker's share of some rows for the others, and takes theirs: `units` times
    /// `size` rows of some panels.
    pub fn exchange<const L: usize>(
        &mut self,
        matrix: &mut Panels<L>,
        panels: Range<usize>,
        units: usize,
        size: usize,
    ) {
        let Some(team) = self.team.clone() else { return };
        let rows = |number: usize| {
            let Range { start, end } = self.share_of(number).of(units);
            start * size..end * size
        };
        let turn = self.done % 2;
        let place = &team.0[self.number];
        {
            let mut left = place.rows[turn].lock().expect("nobody panics while holding rows: anything else is a bug");
            left.clear();
            for panel in panels.clone() {
                left.extend_from_slice(matrix.panel(panel)[rows(self.number)].as_flattened());
            }
        }
        place.done.store(self.done + 1, Ordering::Release);
        for number in (0..team.0.len()).filter(|number| *number != self.number) {
            let other = &team.0[number];
            wait(|| other.done.load(Ordering::Acquire) > self.done);
            let left = other.rows[turn].lock().expect("nobody panics while holding rows: anything else is a bug");
            let rows = rows(number);
            for (panel, left) in panels.clone().zip(left.chunks_exact((rows.len() * L).max(1))) {
                matrix.panel_mut(panel)[rows.clone()].as_flattened_mut().copy_from_slice(left);
            }
        }
        self.done += 1;
    }
}

impl Drop for Member {
    /// Nobody waits for a worker that has panicked; the scope of its thread tells of it.
    fn drop(&mut self) {
        if let Some(team) = self.team.as_ref().filter(|_| thread::panicking()) {
            team.0[self.number].done.store(usize::MAX, Ordering::Release);
        }
    }
}

/// The others are about as quick, so it is not worth falling asleep; unless the core has other
/// things to do, too.
fn wait(is_done: impl Fn() -> bool) {
    const SPINS: usize = 10_000;
    for spin in 0_usize.. {
        if is_done() {
            return;
        }
        if spin < SPINS { std::hint::spin_loop() } else { thread::yield_now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each worker writes its share of the rows, the number of the step in them, and must find
    /// those of the others.
    #[test]
    fn every_worker_has_all_rows_after_each_step() {
        for workers in [1, 2, 3, 7] {
            let found = work(workers, |mut member| {
                let mut matrix = Panels::<4>::default();
                matrix.reshape(10, 8);
                for step in 0..500 {
                    for panel in 0..2 {
                        let share = member.share().of(5);
                        for row in share.start * 2..share.end * 2 {
                            matrix.panel_mut(panel)[row] = [(100 * step + 10 * panel + row) as f32; 4];
                        }
                    }
                    member.exchange(&mut matrix, 0..2, 5, 2);
                    for panel in 0..2 {
                        for row in 0..10 {
                            assert_eq!(matrix.panel(panel)[row], [(100 * step + 10 * panel + row) as f32; 4]);
                        }
                    }
                }
                member.share().of(5).len()
            });
            assert_eq!(found, 5 / workers);
        }
    }

    #[test]
    #[should_panic = "a scoped thread panicked"]
    fn nobody_waits_for_a_worker_that_has_panicked() {
        work(2, |mut member| {
            let mut matrix = Panels::<4>::default();
            matrix.reshape(2, 4);
            assert!(member.share().number == 0, "the second worker");
            member.exchange(&mut matrix, 0..1, 2, 1);
        });
    }
}
