//! The words of the write path.

use crate::columns::{bigint, from_row};

/// What is read: one pipeline's reading of one topic of one Kafka cluster.
///
/// The cluster's own id is part of the name, so that one topic name on two clusters, or a cluster
/// that was made again, is never taken for the same stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Stream {
    /// The name under which this classification runs (the consumer's group).
    pub pipeline: String,
    /// The id that the Kafka cluster gives itself.
    pub cluster_id: String,
    /// The topic.
    pub topic: String,
}

from_row!(Stream { pipeline, cluster_id, topic });

/// How often a partition has been claimed; the newest claim alone may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Epoch(pub i64);

bigint!(Epoch);

/// The offset of the first record whose effect is not yet in Postgres: not the offset of a record
/// that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct NextOffset(pub i64);

bigint!(NextOffset);

/// The right to write one partition, until somebody else claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The partition.
    pub partition: i32,
    /// Names this claim in every write.
    pub epoch: Epoch,
    /// Where to read on.
    pub next_offset: NextOffset,
}

from_row!(Claim { partition, epoch, next_offset });

/// How a fenced write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a fenced owner must stop writing"]
pub enum Outcome {
    /// The effect and the position are committed.
    Written,
    /// The partition has another owner, or its position was moved: nothing was written, and this
    /// claim is worth nothing.
    Fenced,
}
