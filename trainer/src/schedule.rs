//! The learning rate over time.

/// Linear warm-up from zero to the peak, then linear decay to zero, as a share of the peak.
///
/// The values are those of transformers' `get_linear_schedule_with_warmup`; `step` counts optimizer
/// steps from 0.
pub fn linear(step: usize, warmup: usize, total: usize) -> f64 {
    if step < warmup {
        return step as f64 / warmup as f64;
    }
    total.saturating_sub(step) as f64 / total.saturating_sub(warmup).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// import torch, transformers
    /// o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    /// s = transformers.get_linear_schedule_with_warmup(o, 2, 10)
    /// for _ in range(11): print(s.get_last_lr()[0]); o.step(); s.step()
    /// ```
    #[test]
    fn the_schedule_is_that_of_transformers() {
        let values: Vec<f64> = (0..11).map(|step| linear(step, 2, 10)).collect();
        assert_eq!(values, [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]);
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_whole_rate() {
        assert_eq!(linear(0, 0, 4), 1.0);
        assert_eq!(linear(3, 0, 4), 0.25);
    }

    #[test]
    fn nothing_divides_by_zero() {
        assert_eq!(linear(0, 0, 0), 0.0);
        assert_eq!(linear(5, 5, 5), 0.0);
    }
}
