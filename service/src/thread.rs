//! OS threads, for what would block the runtime.

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

/// Starts work on an OS thread with a name; the future is of what comes of it. Dropping the future
/// does not end the thread. With a niceness, the thread and those that it starts yield to others by
/// so much, as `nice` counts.
///
/// # Errors
/// A system that has no more threads. The future: the work's own error, or a panic.
pub fn thread<T: Send + 'static>(
    name: &'static str,
    niceness: Option<i32>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<impl Future<Output = Result<T>> + Send> {
    let (sender, ended) = oneshot::channel();
    let work = move || {
        // On Linux this is the thread's own. Where it is refused, the work merely competes with
        // others.
        if let Some(Err(error)) = niceness.map(rustix::process::nice) {
            tracing::warn!(%error, name, "the thread cannot be made nice");
        }
        // Nobody listens after an abort.
        let _ = sender.send(work());
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start the {name} thread"))?;
    Ok(async move { ended.await.with_context(|| format!("the {name} thread panicked"))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_work_and_its_own_threads_are_nice_and_nobody_else_is() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let work = move || Ok((nice(), std::thread::spawn(nice).join().unwrap()));
        assert_eq!(thread("nice", Some(3), work).unwrap().await.unwrap(), (before + 3, before + 3));
        assert_eq!(nice(), before);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_names_the_thread() {
        let panicked = thread::<()>("shaky", None, || panic!("a test")).unwrap().await.unwrap_err();
        assert!(format!("{panicked:#}").contains("shaky"), "{panicked:#}");
    }
}
