//! The connections of a server: so many at most, and none that waits for long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// A connection on which nothing is answered for so long is closed: one that sends its request, or
/// reads its answer, too slowly, and one that is kept alive for nothing.
const PATIENCE: Duration = Duration::from_secs(15);
/// More than any service here needs at a time.
const MOST: usize = 512;
/// Of the files that the process may have open, one in so many is left to connections.
const SHARE_OF_FILES: usize = 4;
/// Places beyond the limit, where nothing but health is answered.
const FOR_HEALTH: usize = 32;

/// Those that are open, by age.
pub(super) struct Connections {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_age: BTreeMap<u64, Arc<Connection>>,
}

/// What is known of one connection.
pub(super) struct Connection {
    state: Mutex<State>,
    /// Cancelled when it is to be closed.
    pub closed: CancellationToken,
}

#[derive(Clone, Copy)]
enum State {
    /// A whole request is here, and the answer is being made.
    Answering,
    /// The client has something to do, since then.
    Waiting(Instant),
}

impl Connections {
    /// As many as the process has files for. Raises its limit as far as it may.
    pub fn new() -> Self {
        Self { limit: MOST.min(files() / SHARE_OF_FILES).max(1), open: Mutex::default() }
    }

    /// Adds one; where there are too many, the one that has waited for longest is closed. Where all
    /// are being answered, the new one may ask for health alone, as long as there is room for that.
    pub fn add(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open.lock().expect("no holder panics");
        let is_full = open.by_age.len() >= self.limit && !open.close_the_longest_waiting();
        if open.by_age.len() >= self.limit + FOR_HEALTH {
            return None;
        }
        let id = open.next;
        open.next += 1;
        let connection = Arc::new(Connection::new());
        open.by_age.insert(id, connection.clone());
        Some(Place { id, connection, for_health: is_full, of: self.clone() })
    }

    /// Makes room where the system has no files left.
    pub fn close_one(&self) {
        self.open.lock().expect("no holder panics").close_the_longest_waiting();
    }
}

impl Open {
    fn close_the_longest_waiting(&mut self) -> bool {
        let waiting = self.by_age.iter().filter_map(|(&id, connection)| Some((connection.waits_since()?, id)));
        let Some((_, id)) = waiting.min() else { return false };
        if let Some(connection) = self.by_age.remove(&id) {
            connection.closed.cancel();
        }
        true
    }
}

impl Connection {
    fn new() -> Self {
        Self { state: Mutex::new(State::Waiting(Instant::now())), closed: CancellationToken::new() }
    }

    /// The request is here as a whole; what comes next is ours to do.
    pub fn answers(&self) {
        *self.state.lock().expect("no holder panics") = State::Answering;
    }

    /// The client is to do something: go on with its request, read the answer, ask again.
    pub fn waits(&self) {
        *self.state.lock().expect("no holder panics") = State::Waiting(Instant::now());
    }

    fn waits_since(&self) -> Option<Instant> {
        match *self.state.lock().expect("no holder panics") {
            State::Answering => None,
            State::Waiting(since) => Some(since),
        }
    }

    /// Ends when the client has taken too long.
    pub async fn overdue(&self) {
        loop {
            let left = self.waits_since().map_or(PATIENCE, |since| PATIENCE.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// A connection among those that are open, until it is dropped.
pub(super) struct Place {
    id: u64,
    pub connection: Arc<Connection>,
    /// Whether nothing else is to be answered.
    pub for_health: bool,
    of: Arc<Connections>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.open.lock().expect("no holder panics").by_age.remove(&self.id);
    }
}

/// How many files the process may have open, after the limit was raised as far as it may be.
fn files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    limit.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Arc<Connections> {
        Arc::new(Connections { limit: 2, open: Mutex::default() })
    }

    #[test]
    fn a_new_connection_takes_the_place_of_the_one_that_has_waited_for_longest() {
        let connections = two();
        let [first, second] = [(); 2].map(|()| connections.add().unwrap());
        first.connection.waits();
        let third = connections.add().unwrap();
        assert!(second.connection.closed.is_cancelled() && !first.connection.closed.is_cancelled());
        first.connection.answers();
        third.connection.answers();
        let fourth = connections.add().unwrap();
        assert!(fourth.for_health, "what is being answered keeps its place");
        drop((first, fourth));
        assert!(!connections.add().unwrap().for_health);
    }

    #[tokio::test]
    async fn who_waits_for_its_answer_is_not_overdue_and_who_sends_nothing_is() {
        let connection = Connection::new();
        assert!(tokio::time::timeout(Duration::from_millis(50), connection.overdue()).await.is_err());
        *connection.state.lock().unwrap() = State::Waiting(Instant::now().checked_sub(PATIENCE).unwrap());
        connection.overdue().await;
        connection.answers();
        assert!(tokio::time::timeout(Duration::from_millis(50), connection.overdue()).await.is_err());
    }
}
