//! Dropout on slices.

use crate::kernels::vectorised;

/// The dropout mask of one place in the network: a pure function from an element's number to its factor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    keys: [u32; 2],
    /// Hashes below are dropped.
    threshold: u32,
    /// What the others are multiplied with, so that the expected value stays.
    scale: f32,
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

    /// 0, or the scale. Masks repeat after 2^32 elements.
    #[inline(always)]
    pub fn factor(&self, element: usize) -> f32 {
        // Chris Wellons' `triple32` hash, with half of the key before and half after its first round.
        let mut hash = (element as u32).wrapping_add(self.keys[0]);
        hash = (hash ^ (hash >> 17)).wrapping_mul(0xed5a_d4bb) ^ self.keys[1];
        hash = (hash ^ (hash >> 11)).wrapping_mul(0xac4c_1b51);
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x3184_8bab);
        hash ^= hash >> 14;
        if hash < self.threshold { 0.0 } else { self.scale }
    }
}

vectorised! {
    /// Applies the mask to elements `first`, `first + 1`, ...
    pub(crate) fn drop_out(values: &mut [f32], first: usize, mask: &Mask) {
        let mask = *mask;
        for (element, value) in values.iter_mut().enumerate() {
            *value *= mask.factor(first + element);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_drops_as_often_as_it_says_and_keeps_the_expected_value() {
        for probability in [0.1, 0.5] {
            let mask = Mask::new(7, probability);
            let mut values = vec![1.0; 1_000_000];
            drop_out(&mut values, 0, &mask);
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
