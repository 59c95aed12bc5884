//! Which part of each batch is ours, among processes that train together.

/// One of several equal parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub rank: usize,
    pub replicas: usize,
}
