//! Dropout on slices.

use bert::Mask;
use kernels::vectorised;

vectorised! {
    /// Applies the mask to elements `first`, `first + 1`, ...
    pub(super) fn drop_out(values: &mut [f32], first: usize, mask: &Mask) {
        let mask = *mask;
        for (element, value) in values.iter_mut().enumerate() {
            *value *= mask.factor(first + element);
        }
    }
}
