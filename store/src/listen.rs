//! Word of a new champion, as it is promoted. Only a hint: what is said while a connection is
//! broken is lost.

use std::fmt;

use sqlx::postgres::PgListener;

use crate::{Store, StoreError};

/// A connection that waits for word.
pub struct Listener {
    listener: PgListener,
}

impl Store {
    /// Listens from now on, on a connection of its own.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        // A pool of one, because the listener wants a pool; it never comes back for another.
        let mut listener = PgListener::connect_with(&self.own_pool()).await?;
        listener.eager_reconnect(false);
        listener.listen("labelstream_models").await?;
        Ok(Listener { listener })
    }
}

/// What it stands on holds the password.
impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
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
