//! A small seeded generator: the same seed gives the same order on every machine.

/// SplitMix64 (Steele, Lea and Flood, 2014): 64 bits of state, every seed is a good one.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

/// What random numbers are drawn for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The order of an epoch's texts.
    Order,
    /// The tokens that a batch hides.
    Masks,
}

impl Random {
    #[cfg(test)]
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for each purpose and number (an epoch, a batch): there is no state to
    /// carry from step to step, so a run that goes on at a step draws what the uninterrupted one
    /// would have drawn there.
    pub(crate) fn of(seed: u64, purpose: Purpose, number: usize) -> Self {
        let key = Self(seed ^ ((purpose as u64 + 1) << 56)).next();
        Self(Self(key ^ number as u64).next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number in `0..end`; the bias of the multiplication is below 2^-32 for any count that fits
    /// in memory.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// True with the given probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// A number from 0 up to 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation, https://prng.di.unimi.it/splitmix64.c, seeded with
    /// 1234567.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = Random::new(1_234_567);
        let values: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(values, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn each_seed_purpose_and_number_has_its_own_numbers() {
        let mut firsts: Vec<u64> = Vec::new();
        for seed in 0..20 {
            for number in 0..20 {
                let of = |purpose| Random::of(seed, purpose, number).next();
                firsts.extend([of(Purpose::Order), of(Purpose::Masks)]);
            }
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 800);
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Random::new(7).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn chances_come_as_often_as_stated() {
        let mut random = Random::new(3);
        let hits = (0..100_000).filter(|_| random.chance(0.15)).count();
        assert!((14_500..15_500).contains(&hits), "{hits}");
    }
}
