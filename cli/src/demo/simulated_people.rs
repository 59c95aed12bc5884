//! The simulated people of the demo: they know the label of each review, and label those that are
//! most worth it.

use std::collections::HashMap;
use std::time::Duration;

use store::{NewLabel, Store};
use tokio::time::{MissedTickBehavior, interval};
use trainer::picks::{Mix, most_worth_labeling};

use super::reviews::Reviews;

/// Share of their labels that the accuracy of the champion is told by.
const AUDIT_SHARE: f64 = 0.2;

/// How often they look for something to label.
const EVERY: Duration = Duration::from_secs(1);

/// Puts down what people have said before the demo begins.
pub async fn labeled_before(store: &Store, reviews: &Reviews) -> anyhow::Result<u64> {
    let labels = reviews.labeled.iter().map(|row| NewLabel {
        review_id: None,
        text: Some(row.text.clone()),
        label: row.label.clone(),
        labeled_by: Some("people, before the demo".to_owned()),
        labeled_at: None,
        source: "demo".to_owned(),
    });
    Ok(store.add_labels(&labels.collect::<Vec<_>>()).await?)
}

/// Labels `a_second` reviews, the least certain first, for as long as the demo lasts. Of what they
/// do not know they say nothing.
pub async fn label(store: &Store, truth: &HashMap<String, String>, a_second: u32) -> anyhow::Result<()> {
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mix = Mix { audit_share: AUDIT_SHARE, has_second_opinion: false, ..Mix::default() };
    loop {
        clock.tick().await;
        let asked = most_worth_labeling(store, a_second, &mix).await?;
        let labels = asked.into_iter().filter_map(|review| {
            let label = truth.get(review.review_id.as_ref()?)?.clone();
            Some(NewLabel {
                review_id: review.review_id,
                text: Some(review.text),
                label,
                labeled_by: Some("a simulated reviewer".to_owned()),
                labeled_at: None,
                source: "demo".to_owned(),
            })
        });
        store.add_labels(&labels.collect::<Vec<_>>()).await?;
    }
}
