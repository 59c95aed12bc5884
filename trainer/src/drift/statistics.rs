//! Whether two samples are of one distribution.

/// The population stability index of two histograms: the sum of `(p - q) ln(p / q)` over their
/// bins, each of which counts half a text more, so that none is empty.
pub(super) fn stability_index(one: &[u64], other: &[u64]) -> f64 {
    let share = |counts: &[u64], bin: usize| {
        (counts[bin] as f64 + 0.5) / (counts.iter().sum::<u64>() as f64 + 0.5 * counts.len() as f64)
    };
    (0..one.len())
        .map(|bin| {
            let (p, q) = (share(one, bin), share(other, bin));
            (p - q) * (p / q).ln()
        })
        .sum()
}

/// Texts that a bin must have of both samples together; smaller ones are merged with the next.
const FEW: u64 = 20;

/// The probability of histograms as different as these, were both drawn from one distribution: the
/// chi-squared test of homogeneity.
pub(super) fn histograms_differ(one: &[u64], other: &[u64]) -> f64 {
    let mut bins: Vec<(u64, u64)> = Vec::new();
    let mut open = (0, 0);
    for (one, other) in one.iter().zip(other) {
        open = (open.0 + one, open.1 + other);
        if open.0 + open.1 >= FEW {
            bins.push(std::mem::take(&mut open));
        }
    }
    if let Some(last) = bins.last_mut() {
        *last = (last.0 + open.0, last.1 + open.1);
    }
    let (sum_one, sum_other) = bins.iter().fold((0, 0), |sums, bin| (sums.0 + bin.0, sums.1 + bin.1));
    if bins.len() < 2 || sum_one == 0 || sum_other == 0 {
        return 1.0;
    }
    let ratio = (sum_other as f64 / sum_one as f64).sqrt();
    let term = |(one, other): &(u64, u64)| {
        let difference = ratio * *one as f64 - *other as f64 / ratio;
        difference * difference / (one + other) as f64
    };
    chi_squared_tail(bins.iter().map(term).sum(), (bins.len() - 1) as f64)
}

/// The probability of means as different as these, two-sided: Welch's test with the normal
/// distribution, which some hundred texts allow. Each sample is its mean, the mean of its squares,
/// and its size.
pub(super) fn means_differ(one: (f64, f64, f64), other: (f64, f64, f64)) -> f64 {
    let variance = |(mean, square, count): (f64, f64, f64)| (square - mean * mean).max(0.0) / (count - 1.0).max(1.0);
    let variance = variance(one) + variance(other);
    if one.2 < 2.0 || other.2 < 2.0 {
        return 1.0;
    }
    let difference = (one.0 - other.0).abs();
    if variance == 0.0 {
        return if difference == 0.0 { 1.0 } else { 0.0 };
    }
    libm::erfc(difference / variance.sqrt() / std::f64::consts::SQRT_2)
}

/// The upper tail of the chi-squared distribution: the regularised incomplete gamma function, by
/// its series below the mean and by its continued fraction above (Abramowitz and Stegun, 6.5.29 and
/// 6.5.31).
fn chi_squared_tail(statistic: f64, freedom: f64) -> f64 {
    let (a, x) = (freedom / 2.0, statistic / 2.0);
    if x <= 0.0 {
        return 1.0;
    }
    let scale = (a * x.ln() - x - libm::lgamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for step in 1..500 {
            term *= x / (a + f64::from(step));
            sum += term;
            if term < sum * 1e-15 {
                break;
            }
        }
        return (1.0 - scale * sum).clamp(0.0, 1.0);
    }
    // Lentz's method.
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1e300, 1.0 / b);
    let mut fraction = d;
    for step in 1..500 {
        let step = f64::from(step);
        let numerator = -step * (step - a);
        b += 2.0;
        d = 1.0 / (numerator * d + b);
        c = b + numerator / c;
        let factor = c * d;
        fraction *= factor;
        if (factor - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (scale * fraction).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// from scipy.stats import chi2
    /// for x, k in [(1, 1), (3.841, 1), (10, 4), (30, 9), (2, 9), (100, 20)]: print(chi2.sf(x, k))
    /// ```
    #[test]
    fn the_tail_is_that_of_scipy() {
        let expected = [
            (1.0, 1.0, 0.31731050786291415),
            (3.841, 1.0, 0.05001368376567363),
            (10.0, 4.0, 0.04042768199451279),
            (30.0, 9.0, 0.0004387217709794),
            (2.0, 9.0, 0.9914676057791716),
            (100.0, 20.0, 1.2596084591660118e-12),
        ];
        for (x, k, p) in expected {
            let found = chi_squared_tail(x, k);
            assert!((found / p - 1.0).abs() < 1e-4, "{x} with {k}: {found:e}");
        }
    }

    /// ```python
    /// from scipy.stats import chi2_contingency
    /// chi2_contingency([[50, 30, 20], [90, 80, 30]], correction=False).pvalue
    /// ```
    #[test]
    fn the_test_of_two_histograms_is_that_of_scipy() {
        let p = histograms_differ(&[50, 30, 20], &[90, 80, 30]);
        assert!((p - 0.204_40).abs() < 1e-4, "{p}");
        assert_eq!(histograms_differ(&[5, 5], &[5, 4]), 1.0, "too few to tell");
    }

    #[test]
    fn equal_histograms_are_stable_and_a_bin_that_is_gone_is_a_great_change() {
        assert!(stability_index(&[100, 200], &[1_000, 2_000]).abs() < 1e-4);
        assert!(stability_index(&[500, 500], &[990, 10]) > 0.25);
    }

    #[test]
    fn means_are_told_apart_by_their_spread() {
        // Of zeros and ones: the mean of the squares is the mean.
        assert!((means_differ((0.5, 0.5, 101.0), (0.64, 0.64, 101.0)) - 0.0434).abs() < 2e-3);
        assert_eq!(means_differ((0.5, 0.25, 10.0), (0.5, 0.25, 10.0)), 1.0);
    }
}
