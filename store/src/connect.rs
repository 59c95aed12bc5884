//! The way in: pools of connections, each with its own limits, and one deadline over every call.
//!
//! Those who write partitions have a pool of their own. Whoever waits for a place in it waits behind
//! writes that have deadlines, which is no outage; and a claim, a sign of life or a person's
//! question waits for none of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::StoreError;
use crate::route::Route;

/// How long to wait for an answer when the network may have swallowed it: longer than the server's
/// own limits.
const ANSWER: Duration = Duration::from_secs(60);

/// Connections for everything but writing partitions: claims, signs of life, the registry.
const CONTROL: u32 = 2;

/// A handle on the database; cloning shares the connections.
#[derive(Clone)]
pub struct Store {
    writers: Share,
    control: Share,
    route: Arc<Route>,
    /// Whether the server that was chosen seems not to be the right one any more.
    lost: Arc<AtomicBool>,
}

/// A pool, and the places in it: who comes first is served first.
#[derive(Clone)]
struct Share {
    pool: PgPool,
    places: Arc<Semaphore>,
}

impl Store {
    /// Connects to `postgres://user:password@host:port/database`, or whatever else psql takes, and
    /// makes sure of one connection. Up to `connections` write at a time; two more are for
    /// everything else. Connections that break later are replaced as they are needed.
    ///
    /// # Errors
    /// Transient where the server does not answer; final where it refuses. None shows the password.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        let route = Route::find(url).await?;
        let (writers, control) = (Share::new(&route, connections), Share::new(&route, CONTROL));
        Ok(Self { writers, control, route: Arc::new(route), lost: Arc::default() })
    }

    /// One round trip, for a health check.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run(async |connection| Ok(connection.ping().await?)).await
    }

    /// The server's version as it says it, such as `15.4`.
    pub async fn server_version(&self) -> Result<String, StoreError> {
        self.run(async |connection| Ok(sqlx::query_scalar("show server_version").fetch_one(connection).await?)).await
    }

    /// Whether a pooler stands before the server, which works as long as it gives each session a
    /// connection of its own.
    pub fn has_pooler(&self) -> bool {
        self.route.has_pooler()
    }

    /// Closes the connections, after what they do at the moment.
    pub async fn close(&self) {
        self.writers.pool.close().await;
        self.control.pool.close().await;
    }

    /// Does `work` within the deadline, on a connection that no writer of partitions holds.
    pub(crate) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run_in(&self.control, work).await
    }

    /// Does `work` within the deadline, on a connection of the writers, when there is one.
    pub(crate) async fn run_write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run_in(&self.writers, work).await
    }

    async fn run_in<T>(
        &self,
        share: &Share,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _place = share.places.acquire().await.expect("places that were closed are a bug");
        let mut lent = Lent { connection: self.acquire(share).await?, settled: false };
        let late = || StoreError::Unavailable(format!("no answer within {} s", ANSWER.as_secs()));
        let done = timeout(ANSWER, work(&mut lent.connection)).await.unwrap_or_else(|_| Err(late()));
        lent.settled = done.is_ok();
        if matches!(done, Err(StoreError::Unavailable(_))) && self.route.has_choice() {
            self.lost.store(true, Ordering::Relaxed);
        }
        done
    }

    /// A connection for which there is a place: where it cannot be had in time, the server is away.
    async fn acquire(&self, share: &Share) -> Result<PoolConnection<Postgres>, StoreError> {
        if self.lost.swap(false, Ordering::Relaxed) {
            self.choose().await?;
        }
        match share.pool.acquire().await {
            // The pool hides the cause.
            Err(sqlx::Error::PoolTimedOut) => {
                self.choose().await?;
                Ok(share.pool.acquire().await?)
            }
            acquired => Ok(acquired?),
        }
    }

    /// Looks for a server anew, and has the pools go there.
    async fn choose(&self) -> Result<(), StoreError> {
        let options = self.route.choose().await.inspect_err(|_| self.lost.store(true, Ordering::Relaxed))?;
        self.writers.pool.set_connect_options(options.clone());
        self.control.pool.set_connect_options(options);
        Ok(())
    }

    /// A pool of one connection that is nobody else's.
    pub(crate) fn own_pool(&self) -> PgPool {
        self.route.pool(1)
    }

    /// A connection of its own, without limits of time.
    pub(crate) async fn open_unlimited(&self) -> Result<PgConnection, StoreError> {
        self.route.open_unlimited().await
    }
}

impl Share {
    fn new(route: &Route, connections: u32) -> Self {
        Self { pool: route.pool(connections), places: Arc::new(Semaphore::new(connections as usize)) }
    }
}

/// What it stands on holds the password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.route)
    }
}

/// A connection that goes back to the pool only with every answer read.
///
/// After work that failed, or that was dropped half done, the next user could take the rest of an
/// old answer for its own.
struct Lent {
    connection: PoolConnection<Postgres>,
    settled: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.settled {
            self.connection.close_on_drop();
        }
    }
}
