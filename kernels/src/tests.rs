//! What the tests of the kernels share.

/// Numbers between -1/2 and 1/2, others for another key.
pub fn numbers(count: usize, key: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7_919 + key * 104_729) % 1_009) as f32 / 1_009.0 - 0.5).collect()
}
