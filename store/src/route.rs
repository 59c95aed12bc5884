//! Which server of an address is taken, and how its sessions are set up: with limits of time, and
//! behind a pooler too, as far as that is one session for one connection.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Row};
use tokio::time::timeout;

use crate::StoreError;
use crate::address::{Address, Session};

/// What the server is to give up by itself, so that a frozen client holds nothing for long.
const LIMITS: [(&str, &str); 3] =
    [("lock_timeout", "10s"), ("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "10s")];

/// The same for sessions that may take as long as they like.
const ALWAYS: [(&str, &str); 4] = [
    // Finds out within a minute that the client's machine is gone.
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    // Means nothing to the server: whether it got there tells whether the others did.
    (ARRIVED, "on"),
];

const ARRIVED: &str = "labelstream.limits_arrived";

/// How long to wait for a connection of a pool, to open one or to have one back.
const ACQUIRE: Duration = Duration::from_secs(5);

/// The servers and the database of an address, without who connects: a name for what belongs to it.
///
/// # Errors
/// [`StoreError::Address`].
pub fn servers_of(url: &str) -> Result<String, StoreError> {
    let address = Address::parse(url).map_err(StoreError::Address)?;
    let servers: Vec<String> = address.routes.iter().map(Address::shown).collect();
    let database = address.routes.first().and_then(PgConnectOptions::get_database);
    Ok(format!("{}/{}", servers.join(","), database.unwrap_or_default()))
}

/// The way to the server of an address that was found to be the right one.
pub(crate) struct Route {
    address: Address,
    chosen: Mutex<PgConnectOptions>,
    /// Takes no settings along: they are made after connecting.
    pooler: bool,
}

impl Route {
    /// Finds a server that lets us in.
    pub async fn find(url: &str) -> Result<Self, StoreError> {
        let address = Address::parse(url).map_err(StoreError::Address)?.named("labelstream");
        let first = address.routes.first().cloned().expect("an address without a route is a bug");
        let mut route = Self { address, chosen: Mutex::new(first), pooler: false };
        let mut opened = route.first().await;
        if let Err(StoreError::Pooled(_)) = &opened {
            route.pooler = true;
            opened = route.first().await;
        }
        let (mut connection, options) = opened?;
        *route.chosen.lock().unwrap_or_else(PoisonError::into_inner) = options;
        route.pooler |= !has_limits(&mut connection).await?;
        if route.pooler {
            route.refuse_shared_connections(&mut connection).await?;
        }
        connection.close().await.ok();
        Ok(route)
    }

    pub fn has_pooler(&self) -> bool {
        self.pooler
    }

    /// Whether choosing anew may come to another server.
    pub fn has_choice(&self) -> bool {
        self.address.has_choice()
    }

    /// Chooses a server anew; gives the options with which to connect to it.
    pub async fn choose(&self) -> Result<PgConnectOptions, StoreError> {
        let (connection, options) = self.first().await?;
        connection.close().await.ok();
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = options.clone();
        Ok(self.set_up(options, true))
    }

    /// A pool that connects when it is asked.
    pub fn pool(&self, connections: u32) -> PgPool {
        let late = if self.pooler { self.settings(true) } else { Vec::new() };
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE.max(self.address.patience))
            .after_connect(move |connection, _| {
                let late = late.clone();
                Box::pin(async move { set(connection, &late).await })
            })
            .connect_lazy_with(self.set_up(self.chosen(), true))
    }

    pub async fn open_unlimited(&self) -> Result<PgConnection, StoreError> {
        let mut connection = self.open(&self.set_up(self.chosen(), false)).await?;
        if self.pooler {
            set(&mut connection, &self.settings(false)).await?;
        }
        Ok(connection)
    }

    fn chosen(&self) -> PgConnectOptions {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a session is set to: the address has the last word.
    fn settings(&self, limited: bool) -> Vec<(String, String)> {
        let ours = LIMITS.iter().filter(|_| limited).chain(&ALWAYS);
        let ours = ours.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ours.chain(self.address.settings.iter().cloned()).collect()
    }

    fn set_up(&self, options: PgConnectOptions, limited: bool) -> PgConnectOptions {
        match self.pooler {
            true => options.extra_float_digits(None),
            false => options.options(self.settings(limited)),
        }
    }

    /// The first server that answers, lets us in and is what the address asks for. One that refuses
    /// ends the search, as in libpq.
    async fn first(&self) -> Result<(PgConnection, PgConnectOptions), StoreError> {
        let mut away = Vec::new();
        for (place, options) in self.address.routes.iter().enumerate() {
            let mut connection = match self.open(&self.set_up(options.clone(), true)).await {
                Ok(connection) => connection,
                Err(StoreError::Unavailable(why)) => {
                    away.push(why);
                    continue;
                }
                // The same server, once more with TLS.
                Err(StoreError::Refused(_)) if self.is_tried_again(place) => continue,
                Err(error) => return Err(error),
            };
            if suits(&mut connection, self.address.session).await? {
                return Ok((connection, options.clone()));
            }
            away.push(format!("{} is not what target_session_attrs asks for", Address::shown(options)));
        }
        Err(StoreError::Unavailable(away.join("; ")))
    }

    fn is_tried_again(&self, place: usize) -> bool {
        let at = |place: usize| self.address.routes.get(place).map(Address::shown);
        at(place) == at(place + 1)
    }

    async fn open(&self, options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
        let (server, patience) = (Address::shown(options), self.address.patience);
        match timeout(patience, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(sqlx::Error::Io(why))) => {
                Err(StoreError::Unavailable(format!("no server answers at {server}: {why}; is it running there?")))
            }
            // The zero byte is how sqlx reads the end of a connection.
            Ok(Err(sqlx::Error::Protocol(why))) if crate::error::hung_up(&why) => {
                Err(StoreError::Unavailable(format!("what answers at {server} hangs up")))
            }
            Ok(Err(sqlx::Error::Protocol(why))) => {
                Err(StoreError::Refused(format!("what answers at {server} does not speak as Postgres does: {why}")))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StoreError::Unavailable(format!("no answer from {server} within {} s", patience.as_secs()))),
        }
    }

    /// Two sessions that meet on one connection of the server, or one that changes it, are a
    /// pooler's that shares connections between transactions.
    async fn refuse_shared_connections(&self, first: &mut PgConnection) -> Result<(), StoreError> {
        let here = process(first).await?;
        let second = async {
            let mut second = self.open(&self.set_up(self.chosen(), true)).await?;
            let mut transaction = second.begin().await?;
            let there = process(&mut transaction).await?;
            // While the second holds its connection, the first must be served by its own.
            let still_here = process(first).await?;
            transaction.rollback().await?;
            second.close().await.ok();
            Ok::<_, StoreError>((there, still_here))
        };
        let (there, still_here) = match timeout(self.address.patience, second).await {
            Ok(second) => second?,
            // A pool of one connection, which is the first's for good.
            Err(_) => return Ok(()),
        };
        if there == here || still_here != here {
            return Err(StoreError::Pooled("it shares connections between transactions".to_owned()));
        }
        Ok(())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = self.chosen();
        write!(f, "{}/{}", Address::shown(&chosen), chosen.get_database().unwrap_or_default())
    }
}

/// Whether the session has the limits that it was asked to have.
async fn has_limits(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let arrived = "select coalesce(current_setting('labelstream.limits_arrived', true), '') = 'on'";
    Ok(sqlx::raw_sql(arrived).fetch_one(connection).await?.try_get(0)?)
}

async fn suits(connection: &mut PgConnection, session: Session) -> Result<bool, StoreError> {
    if session == Session::Any {
        return Ok(true);
    }
    let state = "select current_setting('transaction_read_only') = 'on', pg_is_in_recovery()";
    let row = sqlx::raw_sql(state).fetch_one(connection).await?;
    let (read_only, standby): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match session {
        Session::Any => true,
        Session::ReadWrite => !read_only,
        Session::ReadOnly => read_only,
        Session::Primary => !standby,
        Session::Standby => standby,
    })
}

/// The server's process that serves a connection. Nothing is prepared, for that would stay there.
async fn process(connection: &mut PgConnection) -> Result<i32, StoreError> {
    Ok(sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)?)
}

async fn set(connection: &mut PgConnection, settings: &[(String, String)]) -> sqlx::Result<()> {
    for (name, value) in settings {
        sqlx::query("select set_config($1, $2, false)").bind(name).bind(value).execute(&mut *connection).await?;
    }
    Ok(())
}
