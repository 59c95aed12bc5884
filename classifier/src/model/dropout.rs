use super::bert::Site;
use crate::ops::Mask;

/// The source of dropout masks of one training step.
///
/// A mask is a pure function of the seed, the step, the shard, the place in the network and the element, so the backward
/// pass computes it again instead of storing it, and the same seed gives the same training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    key: u64,
}

impl Dropout {
    /// The masks of step `step` of the run with this seed.
    pub fn new(seed: u64, step: u64) -> Self {
        Self { key: mix(mix(seed) ^ step) }
    }

    /// The masks for one of several shards of the same step: shards are numbered from 0 and must not share masks.
    pub fn shard(self, number: usize) -> Self {
        Self { key: mix(self.key ^ (number as u64).wrapping_add(0x5851_f42d_4c95_7f2d)) }
    }

    /// The mask at one place in the network, dropping with `probability`; `None` where nothing would be dropped.
    pub(super) fn site(self, layer: usize, site: Site, probability: f64) -> Option<Mask> {
        if probability <= 0.0 {
            return None;
        }
        let key = mix(self.key ^ ((layer as u64) << 8 | site as u64));
        Some(Mask::new(key, probability))
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood 2014).
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
