//! The order in which the page starts and ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use service::http::{AccessArguments, Server};
use service::retry;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::guard::{Door, Guard};
use crate::opened::Opened;
use crate::server::router;

/// How often it is looked whether Postgres answers.
const EVERY: Duration = Duration::from_secs(10);

/// Serves the page until `shutdown` is cancelled.
///
/// # Errors
/// What cannot be mended by waiting: an address that is taken, people that cannot be read, a refused
/// login, a schema that is not migrated.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let door = Door::new(config.http, config.people.as_deref(), config.user_header.as_deref())?;
    let checkpoints = config.checkpoints.clone().map(|url| service::CheckpointArguments { url }.open()).transpose()?;
    let cache = config.cache.path()?;
    // The guard decides who may ask.
    let server = Server::bind(config.http, &AccessArguments { open: true, ..AccessArguments::default() })?;
    let address = server.address()?;
    let connect = async {
        let store = retry("Postgres answers", &shutdown, async || config.database.open().await).await?;
        retry("Postgres answers", &shutdown, async || store.check_schema().await).await?;
        anyhow::Ok(store)
    };
    let Some(store) = shutdown.run_until_cancelled(connect).await else { return Ok(()) };
    let store = store?;
    let opened = Opened::new(store.clone(), checkpoints, cache);
    let app = Arc::new(App::new(config, store.clone(), opened, Guard::new(door)));
    tracing::info!("the page is at http://{address}");
    let watch = async {
        while !shutdown.is_cancelled() {
            app.database.set(store.ping().await.err().map(|error| error.to_string()));
            shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await;
        }
        Ok(())
    };
    let served = server.serve_during(router(app.clone()), watch).await;
    store.close().await;
    served
}
