//! A process among several that train together.

use service::Secret;

/// The place of a process among several that train together, as torchrun's environment tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its number; the first, 0, is the one that evaluates and writes.
    pub rank: usize,
    /// How many there are.
    pub count: usize,
    /// Where the first listens: `host:port`.
    pub address: String,
    /// Its number among those on its machine: the GPU that it takes, unless it is told another.
    pub local_rank: usize,
    /// What all of a run know and nobody else does: who does not know it is not let in.
    pub token: Secret,
}

/// Which part of each batch is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub rank: usize,
    pub replicas: usize,
}
