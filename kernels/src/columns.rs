//! What is done to each token of a panel: the same in all lanes.

use super::numbers::exp;
use crate::vectorised;

vectorised! {
    /// The softmax of each token's numbers but for a factor: the powers in place, and what each
    /// token's are to be multiplied with.
    pub fn powers_of_tokens<const L: usize>(rows: &mut [[f32; L]], factors: &mut [f32; L]) {
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
        *factors = sum.map(|sum| 1.0 / sum);
    }
}

vectorised! {
    /// The products of `query` with each token of a panel, added to `products`.
    pub fn multiply_tokens<const L: usize>(query: &[f32], panel: &[[f32; L]], products: &mut [f32; L]) {
        for (query, row) in query.iter().zip(panel) {
            for lane in 0..L {
                products[lane] += query * row[lane];
            }
        }
    }
}

vectorised! {
    /// The sum of the tokens of a panel, each as often as `shares` says, added to `sums`. A token
    /// with share 0 is not looked at.
    pub fn mix_tokens<const L: usize>(shares: &[f32; L], panel: &[[f32; L]], sums: &mut [f32]) {
        for (sum, row) in sums.iter_mut().zip(panel) {
            let mut products = [0.0; L];
            for lane in 0..L {
                products[lane] = if shares[lane] > 0.0 { shares[lane] * row[lane] } else { 0.0 };
            }
            *sum += products.iter().sum::<f32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_softmax_of_each_lane_sums_to_one_however_large_its_numbers() {
        let mut rows = [[1e4_f32, -3.0, 0.0, 5.0], [1e4, -2.0, 0.0, 105.0], [-1e4, -1.0, 0.0, 4.0]];
        let mut factors = [0.0; 4];
        powers_of_tokens(&mut rows, &mut factors);
        let lane = |lane: usize| rows.map(|row| row[lane] * factors[lane]);
        assert_eq!(lane(0)[..2], [0.5, 0.5]);
        assert!((lane(1)[2] - 0.665_240_96).abs() < 1e-6 && (lane(1)[0] - 0.090_030_57).abs() < 1e-6);
        assert!(lane(3)[1] > 0.999_999);
        for number in 0..4 {
            assert!((lane(number).iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}
