//! Whether this consumer can do its work: what `/health/ready` says.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::model::Facts;

/// The three things that must work, each with the time of its last sign of life and what is wrong
/// otherwise.
pub(crate) struct Health {
    pub kafka: Part,
    pub database: Part,
    pub model: Part,
    /// The inference thread's loop.
    pub inference_thread: Heartbeat,
    /// The model that serves, once there is one.
    pub serves: Mutex<Option<Facts>>,
    pub partitions: Partitions,
    /// The Kafka thread's loop.
    pub kafka_thread: Heartbeat,
    /// Why the model runs on the CPU, if the device that it was to run on has died. That is not
    /// given another try: whoever mends the device starts the consumer again.
    pub fallback: OnceLock<String>,
}

impl Health {
    pub fn new() -> Self {
        Self {
            // Statistics come every two seconds, later while a hand-over waits.
            kafka: Part::new("not connected yet", Duration::from_secs(15)),
            // Asked every five seconds.
            database: Part::new("not connected yet", Duration::from_secs(20)),
            // An idle model is asked every ten seconds; a batch is made to take less than one.
            model: Part::new("waiting for a champion", Duration::from_secs(60)),
            // A batch is made to take less than a second, and its bad records are found in some
            // dozens of passes: on the slowest processor this is far more than all of them.
            inference_thread: Heartbeat::new(Duration::from_secs(300)),
            serves: Mutex::default(),
            partitions: Partitions::default(),
            // A claim takes ten seconds at most, and a few of them may follow one another.
            kafka_thread: Heartbeat::new(Duration::from_secs(120)),
            fallback: OnceLock::new(),
        }
    }

    /// What is wrong with each part: all `None` means ready.
    pub fn problems(&self) -> [(&'static str, Option<String>); 4] {
        [
            ("kafka", self.kafka.problem()),
            ("database", self.database.problem()),
            ("model", self.model.problem()),
            ("partitions", self.partitions.problem()),
        ]
    }
}

/// What stands still of what this consumer was given to read.
#[derive(Default)]
pub(crate) struct Partitions(Mutex<Standing>);

#[derive(Default)]
struct Standing {
    group: Option<String>,
    halted: Option<String>,
    all_halted: bool,
    stuck: Option<String>,
}

impl Partitions {
    /// What is wrong with the group, and which partitions are halted.
    pub fn set(&self, group: Option<String>, halted: Option<String>, all_halted: bool) {
        let mut standing = self.0.lock().expect("no holder panics");
        (standing.group, standing.halted, standing.all_halted) = (group, halted, all_halted);
    }

    /// What is read and not written for long.
    pub fn stands(&self, stuck: Option<String>) {
        self.0.lock().expect("no holder panics").stuck = stuck;
    }

    /// Why nothing is read at all, if so.
    pub fn problem(&self) -> Option<String> {
        let standing = self.0.lock().expect("no holder panics");
        let halted = standing.halted.as_ref().filter(|_| standing.all_halted);
        standing.group.as_ref().or(halted).or(standing.stuck.as_ref()).cloned()
    }

    /// What is halted beside others that are read.
    pub fn remark(&self) -> Option<String> {
        let standing = self.0.lock().expect("no holder panics");
        standing.halted.clone().filter(|_| !standing.all_halted)
    }
}

/// The sign of life of a loop that must not hang.
pub(crate) struct Heartbeat {
    last: Mutex<Option<Instant>>,
    lasts: Duration,
}

impl Heartbeat {
    pub fn new(lasts: Duration) -> Self {
        Self { last: Mutex::new(None), lasts }
    }

    /// It goes round.
    pub fn beat(&self) {
        *self.last.lock().expect("no holder panics") = Some(Instant::now());
    }

    /// It has ended, or does something that may take its time.
    pub fn rests(&self) {
        *self.last.lock().expect("no holder panics") = None;
    }

    /// Since when it hangs, if it does.
    pub fn problem(&self) -> Option<String> {
        let silent = self.last.lock().expect("no holder panics").map(|last| last.elapsed());
        let silent = silent.filter(|silent| *silent > self.lasts)?;
        Some(format!("it has hung for {} s", silent.as_secs()))
    }
}

/// One of the things that must work. What has given no sign of life for long does not work.
pub(crate) struct Part {
    state: Mutex<Result<Instant, String>>,
    lasts: Duration,
}

impl Part {
    fn new(problem: &str, lasts: Duration) -> Self {
        Self { state: Mutex::new(Err(problem.to_owned())), lasts }
    }

    /// It works as of now; true if it did not before.
    pub fn works(&self) -> bool {
        let mut state = self.state.lock().expect("no holder panics");
        std::mem::replace(&mut *state, Ok(Instant::now())).is_err()
    }

    /// It does not work; true if it did before.
    pub fn fails(&self, problem: impl Into<String>) -> bool {
        let mut state = self.state.lock().expect("no holder panics");
        std::mem::replace(&mut *state, Err(problem.into())).is_ok()
    }

    /// Why it does not work, if it does not.
    pub fn problem(&self) -> Option<String> {
        match &*self.state.lock().expect("no holder panics") {
            Err(problem) => Some(problem.clone()),
            Ok(sign) if sign.elapsed() > self.lasts => {
                Some(format!("no sign of life for {} s", sign.elapsed().as_secs()))
            }
            Ok(_) => None,
        }
    }
}
