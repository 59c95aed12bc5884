//! Which numbers a training step drops. The implementations that train apply the same masks, each
//! in its own way.

/// The source of dropout masks of one training step.
///
/// A mask is a pure function of the seed, the step, the shard, the place in the network and the
/// element, so the backward pass computes it again instead of storing it, and the same seed gives
/// the same training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropout {
    key: u64,
}

/// The places of one layer where dropout happens.
#[derive(Clone, Copy, Debug)]
pub enum Site {
    /// The attention probabilities. The elements of a text of `n` tokens are `heads · n²`, text by
    /// text.
    Attention,
    /// What attention gives, before it is added to the layer's input.
    AttentionOutput,
    /// What the layer gives, before it is added to its input. Also the embeddings (layer 0), and
    /// what is classified (the layer after the last).
    Output,
}

/// The dropout mask of one place in the network: a pure function from an element's number to its
/// factor.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    keys: [u32; 2],
    /// Hashes below are dropped.
    threshold: u32,
    /// What the others are multiplied with, so that the expected value stays.
    scale: f32,
}

impl Dropout {
    /// The masks of step `step` of the run with this seed.
    pub fn new(seed: u64, step: u64) -> Self {
        Self { key: mix(mix(seed) ^ step) }
    }

    /// The masks for one of several shards of the same step: shards are numbered from 0 and must
    /// not share masks.
    pub fn shard(self, number: usize) -> Self {
        Self { key: mix(self.key ^ (number as u64).wrapping_add(0x5851_f42d_4c95_7f2d)) }
    }

    /// The mask at one place in the network, dropping with `probability`; `None` where nothing
    /// would be dropped.
    pub fn site(self, layer: usize, site: Site, probability: f64) -> Option<Mask> {
        if probability <= 0.0 {
            return None;
        }
        let key = mix(self.key ^ ((layer as u64) << 8 | site as u64));
        Some(Mask::new(key, probability))
    }
}

impl Mask {
    /// A mask that drops with `probability`, between 0 and 1, as `key` says.
    pub fn new(key: u64, probability: f64) -> Self {
        Self {
            keys: [key as u32, (key >> 32) as u32],
            threshold: (probability * 2f64.powi(32)) as u32,
            scale: (1.0 / (1.0 - probability)) as f32,
        }
    }

    /// The keys, the hash below which an element is dropped, and what the others are multiplied with:
    /// all that [`factor`](Self::factor) depends on, for those who compute it elsewhere.
    pub fn parts(&self) -> ([u32; 2], u32, f32) {
        (self.keys, self.threshold, self.scale)
    }

    /// 0, or the scale. Masks repeat after 2^32 elements.
    #[inline(always)]
    pub fn factor(&self, element: usize) -> f32 {
        // Chris Wellons' `triple32` hash, with half of the key before and half after its first
        // round.
        let mut hash = (element as u32).wrapping_add(self.keys[0]);
        hash = (hash ^ (hash >> 17)).wrapping_mul(0xed5a_d4bb) ^ self.keys[1];
        hash = (hash ^ (hash >> 11)).wrapping_mul(0xac4c_1b51);
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x3184_8bab);
        hash ^= hash >> 14;
        if hash < self.threshold { 0.0 } else { self.scale }
    }
}

/// The finaliser of splitmix64 (Steele, Lea and Flood 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_drops_as_often_as_it_says_and_keeps_the_expected_value() {
        for probability in [0.1, 0.5] {
            let mask = Mask::new(7, probability);
            let values: Vec<f32> = (0..1_000_000).map(|element| mask.factor(element)).collect();
            let dropped = values.iter().filter(|value| **value == 0.0).count() as f64 / 1e6;
            let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / 1e6;
            assert!((dropped - probability).abs() < 2e-3, "{dropped}");
            assert!((mean - 1.0).abs() < 5e-3, "{mean}");
        }
    }

    #[test]
    fn masks_of_different_keys_agree_only_by_chance() {
        let drops = |key| (0..100_000).map(move |element| Mask::new(key, 0.5).factor(element) == 0.0);
        for key in [1_u64, 1 << 32, 1 << 40] {
            let same = drops(0).zip(drops(key)).filter(|(a, b)| a == b).count();
            assert!((same as f64 / 1e5 - 0.5).abs() < 0.01, "{key}: {same}");
        }
    }
}
