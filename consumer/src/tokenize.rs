//! Texts to token ids, while the batch before is being classified.
//!
//! The ids are a help, no more: where they are another model's, or could not be made, the model
//! takes the texts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::batch::{Batch, Section};
use crate::model::Encoder;

/// A batch on its way to the model.
pub(crate) struct Tokenized {
    pub batch: Batch,
    pub tokens: Option<Tokens>,
}

/// The token ids of a batch's texts, in order.
pub(crate) struct Tokens {
    /// What has made them. A version's number would not do: after a restored dump it may name
    /// another model.
    pub encoder: Encoder,
    pub ids: Vec<Vec<u32>>,
}

/// The model that the next batch is likely to be classified by.
pub(crate) type Serving = watch::Receiver<Option<Encoder>>;

/// Works until there are no more batches, or nobody takes them. What is suspect goes on in groups, each
/// after `attempt` has allowed it.
pub(crate) fn tokenize(
    mut batches: mpsc::Receiver<Batch>,
    mut serving: Serving,
    to: &mpsc::Sender<Tokenized>,
    attempt: impl AsyncFn(&mut Section) -> bool,
    runtime: &Handle,
) {
    runtime.block_on(async {
        let mut send = async |batch: Batch| {
            let encoder = serving.borrow_and_update().clone();
            let tokens = encoder.and_then(|encoder| encode(encoder, &batch));
            to.send(Tokenized { batch, tokens }).await.is_ok()
        };
        while let Some(mut batch) = batches.recv().await {
            let suspects = batch.take_suspects();
            if !batch.sections.is_empty() && !send(batch).await {
                return;
            }
            for mut batch in suspects {
                if attempt(&mut batch.sections[0]).await && !send(batch).await {
                    return;
                }
            }
        }
    });
}

/// `None` where a text cannot be encoded: which one it is the inference thread finds out, with the
/// texts.
fn encode(encoder: Encoder, batch: &Batch) -> Option<Tokens> {
    let texts = batch.texts();
    // An encoder holds nothing that a panic could leave half done: its vocabulary does not change.
    let ids = catch_unwind(AssertUnwindSafe(|| encoder(&texts))).ok()?.ok()?;
    (ids.len() == texts.len()).then_some(Tokens { encoder, ids })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anyhow::ensure;
    use store::{Epoch, NextOffset};

    use super::*;
    use crate::in_flight::Held;
    use crate::message::{Record, Review};

    fn batch(text: &str) -> Batch {
        let review = Review { review_id: String::new(), text: text.to_owned(), created_at: None, attributes: None };
        let section = Section {
            partition: 0,
            epoch: Epoch(1),
            from: NextOffset(0),
            to: NextOffset(1),
            at_a_time: None,
            reviews: vec![(Record::default(), review)],
            dead_letters: Vec::new(),
            tombstones: 0,
            held: Held::default(),
        };
        let mut batch = Batch::default();
        batch.sections.push(section);
        batch
    }

    /// Counts bytes, and more; fails or panics at texts that say so.
    fn encoder(more: usize) -> Encoder {
        Arc::new(move |texts: &[&str]| {
            ensure!(!texts.contains(&"fail"), "cannot encode this");
            assert!(!texts.contains(&"panic"), "a panic over a text");
            Ok(texts.iter().map(|text| vec![(text.len() + more) as u32]).collect())
        })
    }

    #[test]
    fn ids_are_those_of_the_model_that_serves_and_a_batch_without_ids_goes_on_too() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (sender, batches) = mpsc::channel(8);
        let (to, mut tokenized) = mpsc::channel(1);
        let (serves, serving) = watch::channel(Some(encoder(0)));
        let handle = runtime.handle().clone();
        let thread = std::thread::spawn(move || tokenize(batches, serving, &to, async |_: &mut Section| true, &handle));
        let mut ids = |text: &str| {
            sender.blocking_send(batch(text)).unwrap();
            let Tokenized { batch, tokens } = tokenized.blocking_recv().unwrap();
            assert_eq!(batch.texts(), [text]);
            tokens.map(|tokens| tokens.ids)
        };
        assert_eq!(ids("four"), Some(vec![vec![4]]));
        assert_eq!((ids("fail"), ids("panic")), (None, None));
        serves.send_replace(Some(encoder(10)));
        assert_eq!(ids("three"), Some(vec![vec![15]]));
        serves.send_replace(None);
        assert_eq!(ids("three"), None);
        drop(sender);
        thread.join().unwrap();
    }
}
