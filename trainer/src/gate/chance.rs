//! Whether a model knows anything at all: as many right answers by chance are improbable.

use super::origin::normal;

/// The probability of as many right answers or more, were the same answers dealt to the texts by
/// lot: the permutation test of agreement, by its exact mean and variance and the normal
/// distribution.
///
/// `counts[t][a]` is how many texts of class `t` were given the answer `a`; answers beyond the
/// classes may follow.
pub(super) fn by_chance(counts: &[Vec<usize>]) -> f64 {
    let texts = counts.iter().flatten().sum::<usize>() as f64;
    if texts < 2.0 {
        return 1.0;
    }
    let answers = counts.iter().map(Vec::len).max().unwrap_or(0);
    let of_class: Vec<f64> = counts.iter().map(|row| row.iter().sum::<usize>() as f64).collect();
    let of_answer: Vec<f64> =
        (0..answers).map(|answer| counts.iter().filter_map(|row| row.get(answer)).sum::<usize>() as f64).collect();
    let right = counts.iter().enumerate().filter_map(|(class, row)| row.get(class)).sum::<usize>() as f64;
    let both = |class: usize| of_class[class] * of_answer.get(class).copied().unwrap_or(0.0);
    let mean = (0..counts.len()).map(both).sum::<f64>() / texts;
    let mut variance = 0.0;
    for (class, in_class) in of_class.iter().enumerate() {
        for (answer, with_answer) in of_answer.iter().enumerate() {
            let agrees = f64::from(u8::from(class == answer));
            let of_answer_s_class = of_class.get(answer).copied().unwrap_or(0.0) / texts;
            let of_class_s_answer = of_answer.get(class).copied().unwrap_or(0.0) / texts;
            let deviation = agrees - of_answer_s_class - of_class_s_answer + mean / texts;
            variance += in_class * with_answer * deviation * deviation;
        }
    }
    variance /= texts - 1.0;
    if variance <= 0.0 {
        return 1.0;
    }
    // Half a step less: what is counted is whole, the normal distribution is not. With two classes
    // the right answers change by two at a time.
    let half_a_step = if counts.len() == 2 && answers == 2 { 1.0 } else { 0.5 };
    normal(-(right - mean - half_a_step) / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// import random
    /// def p(counts, times=40_000):
    ///     truth = [t for t, row in enumerate(counts) for _ in range(sum(row))]
    ///     answers = [a for row in counts for a, n in enumerate(row) for _ in range(n)]
    ///     right = lambda: sum(t == a for t, a in zip(truth, answers))
    ///     least = right()
    ///     return sum(random.shuffle(answers) or right() >= least for _ in range(times)) / times
    /// ```
    #[test]
    fn the_probability_is_that_of_a_permutation_test() {
        for (counts, expected) in [
            (vec![vec![18, 12], vec![12, 18]], 0.0958),
            (vec![vec![25, 15], vec![7, 13]], 0.0407),
            (vec![vec![8, 6, 6], vec![5, 9, 6], vec![7, 3, 10]], 0.0402),
        ] {
            let p = by_chance(&counts);
            assert!((p - expected).abs() < 0.012, "{counts:?}: {p}");
        }
    }

    #[test]
    fn one_answer_to_everything_is_chance() {
        assert_eq!(by_chance(&[vec![50, 0], vec![10, 0]]), 1.0);
        assert_eq!(by_chance(&[]), 1.0);
        assert!(by_chance(&[vec![30, 0], vec![0, 30]]) < 1e-9);
        assert!(by_chance(&[vec![0, 30], vec![30, 0]]) > 0.999);
    }
}
