//! What the tests of the kernels share.

/// Numbers between -1/2 and 1/2, others for another key.
pub fn numbers(count: usize, key: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7_919 + key * 104_729) % 1_009) as f32 / 1_009.0 - 0.5).collect()
}

/// Does a check on each kind of machine that this one can stand for, beside the portable one.
macro_rules! machines {
    ($check:ident) => {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::kernels::{Avx2, Avx512, Vnni};
            Avx2::detect().into_iter().for_each($check);
            Avx512::detect().into_iter().for_each($check);
            Vnni::detect().into_iter().for_each($check);
        }
    };
}
pub(crate) use machines;
