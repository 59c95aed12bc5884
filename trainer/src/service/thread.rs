//! Long work, away from the async tasks and yielding to whatever else the machine does.

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

/// Does the work on an OS thread of its own, which, with the threads it starts, is as nice as told.
pub(super) async fn on_thread<T: Send + 'static>(
    niceness: i32,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, done) = oneshot::channel();
    let work = move || {
        // On Linux this is the thread's own; a system that refuses is a system that is slower for others.
        if let Err(error) = rustix::process::nice(niceness) {
            tracing::warn!(%error, "the training cannot be made nice");
        }
        // Nobody listens where the service has ended.
        let _ = sender.send(work());
    };
    std::thread::Builder::new().name("training".to_owned()).spawn(work).context("cannot start the training thread")?;
    done.await.context("the training thread panicked")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_work_and_its_own_threads_are_nice_and_nobody_else_is() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let inside = on_thread(3, move || Ok((nice(), std::thread::spawn(nice).join().unwrap()))).await.unwrap();
        assert_eq!(inside, (before + 3, before + 3));
        assert_eq!(nice(), before);
    }
}
