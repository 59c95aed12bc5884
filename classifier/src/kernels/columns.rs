//! What is done to each token of a panel: the same in all lanes.

use super::machine::vectorised;
use super::numbers::exp;

vectorised! {
    /// LayerNorm of each token, in place; `affine` is the weight of each row and the bias.
    pub(crate) fn normalise_tokens<const L: usize>(panel: &mut [[f32; L]], affine: (&[f32], &[f32]), epsilon: f32) {
        let count = panel.len() as f32;
        let mean = sum_rows(panel, |value, _| value, &[0.0; L]).map(|sum| sum / count);
        let variance = sum_rows(panel, |value, mean| (value - mean) * (value - mean), &mean).map(|sum| sum / count);
        let scale = variance.map(|variance| 1.0 / (variance + epsilon).sqrt());
        for (row, (weight, bias)) in panel.iter_mut().zip(affine.0.iter().zip(affine.1)) {
            for lane in 0..L {
                row[lane] = (row[lane] - mean[lane]) * scale[lane] * weight + bias;
            }
        }
    }
}

vectorised! {
    /// The softmax of each token's numbers, in place.
    pub(crate) fn softmax_tokens<const L: usize>(rows: &mut [[f32; L]]) {
        let mut greatest = [f32::NEG_INFINITY; L];
        for row in &*rows {
            for lane in 0..L {
                greatest[lane] = greatest[lane].max(row[lane]);
            }
        }
        let mut sum = [0.0; L];
        for row in &mut *rows {
            for lane in 0..L {
                row[lane] = exp(row[lane] - greatest[lane]);
                sum[lane] += row[lane];
            }
        }
        let scale = sum.map(|sum| 1.0 / sum);
        for row in rows {
            for lane in 0..L {
                row[lane] *= scale[lane];
            }
        }
    }
}

vectorised! {
    /// The products of `query` with each token of a panel, added to `products`.
    pub(crate) fn multiply_tokens<const L: usize>(query: &[f32], panel: &[[f32; L]], products: &mut [f32; L]) {
        for (query, row) in query.iter().zip(panel) {
            for lane in 0..L {
                products[lane] += query * row[lane];
            }
        }
    }
}

vectorised! {
    /// The sum of the tokens of a panel, each as often as `shares` says, added to `sums`. A token with share 0 is not looked at.
    pub(crate) fn mix_tokens<const L: usize>(shares: &[f32; L], panel: &[[f32; L]], sums: &mut [f32]) {
        for (sum, row) in sums.iter_mut().zip(panel) {
            let mut products = [0.0; L];
            for lane in 0..L {
                products[lane] = if shares[lane] > 0.0 { shares[lane] * row[lane] } else { 0.0 };
            }
            *sum += products.iter().sum::<f32>();
        }
    }
}

vectorised! {
    /// Copies the numbers of some tokens, those whose `mask` has all bits set, and leaves those of the others.
    pub(crate) fn merge_tokens<const L: usize>(from: &[[f32; L]], mask: &[u32; L], to: &mut [[f32; L]]) {
        for (from, to) in from.iter().zip(to) {
            for lane in 0..L {
                to[lane] = f32::from_bits(from[lane].to_bits() & mask[lane] | to[lane].to_bits() & !mask[lane]);
            }
        }
    }
}

/// The sum over the rows in each lane; four sums at once, so that no addition waits for the one before.
#[inline(always)]
fn sum_rows<const L: usize>(panel: &[[f32; L]], value: impl Fn(f32, f32) -> f32, with: &[f32; L]) -> [f32; L] {
    let mut sums = [[0.0; L]; 4];
    for rows in panel.chunks(4) {
        for (sums, row) in sums.iter_mut().zip(rows) {
            for lane in 0..L {
                sums[lane] += value(row[lane], with[lane]);
            }
        }
    }
    std::array::from_fn(|lane| sums[0][lane] + sums[1][lane] + (sums[2][lane] + sums[3][lane]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::numbers;

    #[test]
    fn the_layer_norm_of_each_lane_is_that_of_its_numbers() {
        for width in [1, 6, 37] {
            let mut panel: Vec<[f32; 8]> = numbers(width * 8, 1).as_chunks().0.to_vec();
            let before = panel.clone();
            let (weight, bias) = (numbers(width, 2), numbers(width, 3));
            normalise_tokens(&mut panel, (&weight, &bias), 1e-3);
            for lane in 0..8 {
                let values: Vec<f64> = before.iter().map(|row| f64::from(row[lane])).collect();
                let mean = values.iter().sum::<f64>() / width as f64;
                let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
                for (row, value) in values.iter().enumerate() {
                    let normal = ((value - mean) / (variance + 1e-3).sqrt()) as f32;
                    let (found, expected) = (panel[row][lane], normal * weight[row] + bias[row]);
                    assert!((found - expected).abs() < 1e-5, "{width}: {found}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn the_softmax_of_each_lane_sums_to_one_however_large_its_numbers() {
        let mut rows = [[1e4_f32, -3.0, 0.0, 5.0], [1e4, -2.0, 0.0, 105.0], [-1e4, -1.0, 0.0, 4.0]];
        softmax_tokens(&mut rows);
        let lane = |lane: usize| rows.map(|row| row[lane]);
        assert_eq!(lane(0)[..2], [0.5, 0.5]);
        assert!((lane(1)[2] - 0.665_240_96).abs() < 1e-6 && (lane(1)[0] - 0.090_030_57).abs() < 1e-6);
        assert!(lane(3)[1] > 0.999_999);
        for number in 0..4 {
            assert!((lane(number).iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn only_the_lanes_of_the_mask_are_copied() {
        let mut to = [[1.0, 2.0, 3.0, f32::NAN]];
        merge_tokens(&[[5.0, f32::NAN, 7.0, 8.0]], &[u32::MAX, 0, u32::MAX, 0], &mut to);
        assert_eq!(to[0][..3], [5.0, 2.0, 7.0]);
        assert!(to[0][3].is_nan());
    }
}
