//! How a shard passes the network.

use bert::{Dropout, Mask, Site, TokenBatch};

use super::rows::Rows;

/// A shard on its way through a layer.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub batch: &'a TokenBatch,
    pub dropout: Option<&'a Dropout>,
    /// The tokens whose vectors come out of the layer.
    pub rows: Rows<'a>,
}

impl Pass<'_> {
    /// What is dropped at a place of the network.
    pub fn mask(self, layer: usize, site: Site, probability: f64) -> Option<Mask> {
        self.dropout.and_then(|dropout| dropout.site(layer, site, probability))
    }
}
