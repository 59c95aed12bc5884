//! Words left in Postgres, for people, of why a partition stands still or that it goes on. Nothing
//! waits for them; one after the other they take one connection, however many partitions halt; and
//! where Postgres was away meanwhile, the last word of each partition is left and no older one.

use std::collections::BTreeMap;

use store::{Epoch, Store, Stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

pub(crate) struct Words(mpsc::UnboundedSender<Word>);

/// Of a partition, under a claim: why it stands still, if it does.
type Word = (i32, (Epoch, Option<String>));

impl Words {
    /// Writes until this is dropped.
    pub fn new(store: Store, stream: Stream, runtime: &Handle) -> Self {
        let (sender, mut words) = mpsc::unbounded_channel::<Word>();
        runtime.spawn(async move {
            while let Some(word) = words.recv().await {
                let mut last = BTreeMap::from([word]);
                while let Ok((partition, word)) = words.try_recv() {
                    last.insert(partition, word);
                }
                for (partition, (epoch, why)) in last {
                    if let Err(error) = store.record_halt(&stream, partition, epoch, why.as_deref()).await {
                        tracing::warn!(partition, %error, "cannot leave word of the halt in Postgres");
                    }
                }
            }
        });
        Self(sender)
    }

    /// `why` the partition stands still; `None` where it goes on.
    pub fn leave(&self, partition: i32, epoch: Epoch, why: Option<String>) {
        // At the end nobody may be left to write it.
        let _ = self.0.send((partition, (epoch, why)));
    }
}
