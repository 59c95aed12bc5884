//! Reviews that nearly copy one that a person has labeled: they can be labeled with it.

use trainer::near_copies::near_copies;

use crate::app::App;
use crate::failure::Failure;

/// The newest reviews without a label among which copies are looked for.
const AMONG: u32 = 5_000;
/// Copies that are offered at once.
const MOST: usize = 20;

/// Reviews without a label that nearly copy a text, by id.
pub async fn of(app: &App, text: &str) -> Result<Vec<(String, String)>, Failure> {
    let unlabeled = app.unlabeled.get(async || app.store.newest_unlabeled(AMONG).await).await?;
    let text = text.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        // Copies are about as long.
        let length = text.chars().count();
        let is_as_long = |other: &str| {
            let other = other.chars().count();
            other <= length * 3 / 2 + 4 && length <= other * 3 / 2 + 4
        };
        let others: Vec<&(String, String)> = unlabeled.iter().filter(|(_, other)| is_as_long(other)).collect();
        let texts: Vec<&str> =
            [text.as_str()].into_iter().chain(others.iter().map(|(_, other)| other.as_str())).collect();
        let copies = near_copies(&texts);
        let is_copy = |number: &usize| copies[number + 1].contains(&0);
        (0..others.len()).filter(is_copy).take(MOST).map(|number| others[number].clone()).collect()
    });
    found.await.map_err(|error| {
        tracing::error!(%error, "near-copies were not found");
        Failure::Broken
    })
}
