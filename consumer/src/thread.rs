//! OS threads, for what would block the runtime.

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

/// Work on an OS thread with a name, as a future of what comes of it. Dropping the future does not end the thread.
pub(crate) fn thread<T: Send + 'static>(
    name: &'static str,
    work: Box<dyn FnOnce() -> Result<T> + Send>,
) -> Result<impl Future<Output = Result<T>>> {
    let (sender, ended) = oneshot::channel();
    let work = move || {
        // Nobody listens after an abort.
        let _ = sender.send(work());
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start the {name} thread"))?;
    Ok(async move { ended.await.with_context(|| format!("the {name} thread panicked"))? })
}
