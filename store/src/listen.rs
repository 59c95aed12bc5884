//! Word of a new champion, as it is promoted. Only a hint: what is said while a connection is
//! broken is lost.

use sqlx::postgres::{PgListener, PgPoolOptions};

use crate::{Store, StoreError};

/// A connection that waits for word.
#[derive(Debug)]
pub struct Listener {
    listener: PgListener,
}

impl Store {
    /// Listens from now on, on a connection of its own.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        // A pool of one, because the listener wants a pool; it never comes back for another.
        let own = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.limited().clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.eager_reconnect(false);
        listener.listen("labelstream_models").await?;
        Ok(Listener { listener })
    }
}

impl Listener {
    /// Waits until the champion may have changed. Word that has piled up counts once.
    ///
    /// # Errors
    /// When the connection breaks: what was said since is lost, so the caller reads the registry
    /// and listens anew.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        match self.listener.try_recv().await? {
            Some(_) => {
                while self.listener.next_buffered().is_some() {}
                Ok(())
            }
            None => Err(StoreError::Unavailable("the connection that listened for a new champion broke".to_owned())),
        }
    }
}
