//! The activation functions.

use super::machine::vectorised;
use super::numbers::exp;

vectorised! {
    /// GELU with the error function, within 1e-6, in place.
    pub(crate) fn gelu(values: &mut [f32]) {
        for value in values {
            *value *= normal(*value).0;
        }
    }
}

vectorised! {
    /// GELU's tanh form, in place.
    pub(crate) fn gelu_new(values: &mut [f32]) {
        for value in values {
            *value *= gate(*value).0;
        }
    }
}

vectorised! {
    /// The positive part, in place.
    pub(crate) fn relu(values: &mut [f32]) {
        for value in values {
            // Not `max`, which would turn NaN into 0.
            *value = if *value < 0.0 { 0.0 } else { *value };
        }
    }
}

/// Distribution and density of the standard normal law at `x`; the former within 2e-7.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: one exponential serves both.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    let exponential = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let p = 1.061_405_4;
    let p = p * t - 1.453_152_1;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_72;
    let p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * exponential;
    let distribution = if x > 0.0 { 1.0 - tail } else { tail };
    (distribution, exponential * 0.398_942_3)
}

/// The factor by which GELU's tanh form multiplies `x`, `σ(2u)` with `u = √(2/π) (x + 0.044715 x³)`, and the slope of `2u`.
#[inline(always)]
pub(crate) fn gate(x: f32) -> (f32, f32) {
    const TWICE: f32 = 2.0 * 0.797_884_6;
    let square = x * x;
    let gate = 1.0 / (1.0 + exp(-TWICE * x * (1.0 + 0.044_715 * square)));
    (gate, TWICE * (1.0 + 3.0 * 0.044_715 * square))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_within_a_millionth_of_the_error_function() {
        // python3 -c "import math; [print((x, 0.5 * x * (1 + math.erf(x / 2**0.5)))) for x in (-9.0, -3.0, -1.0, -0.25, 0.0, 0.5, 1.0, 2.0, 6.0)]"
        let reference = [
            (-9.0, -1.0162829378139917e-18),
            (-3.0, -0.00404969409489031),
            (-1.0, -0.15865525393145707),
            (-0.25, -0.10032342119135816),
            (0.0, 0.0),
            (0.5, 0.34573123063700656),
            (1.0, 0.8413447460685429),
            (2.0, 1.9544997361036416),
            (6.0, 5.999999994080474),
        ];
        for (x, expected) in reference {
            let mut y = [x as f32];
            gelu(&mut y);
            assert!((f64::from(y[0]) - expected).abs() < 1e-6, "{x}: {}", y[0]);
        }
    }

    #[test]
    fn no_activation_hides_a_nan() {
        for activation in [gelu, gelu_new, relu] {
            let mut values = [f32::NAN, 1.0];
            activation(&mut values);
            assert!(values[0].is_nan() && !values[1].is_nan());
        }
    }
}
