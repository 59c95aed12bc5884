//! All labels of the database.

use store::{Label, Store};

/// Labels read at once.
const PAGE: u32 = 10_000;

/// Every label, in the order of the ids.
pub async fn all_labels(store: &Store) -> anyhow::Result<Vec<Label>> {
    let mut labels: Vec<Label> = Vec::new();
    loop {
        let page = store.labels_after(labels.last().map_or(0, |label| label.id), PAGE).await?;
        if page.is_empty() {
            return Ok(labels);
        }
        labels.extend(page);
    }
}
