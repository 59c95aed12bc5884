//! The activation functions.

use super::numbers::{exp, fused};
use crate::vectorised;

/// What is done to each number of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// `x · Φ(x)`.
    Gelu,
    /// The tanh form of [`Gelu`](Self::Gelu).
    GeluNew,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

impl Epilogue {
    /// Does it to each number; with fused multiply-add where the machine was found to have it.
    #[inline(always)]
    pub fn apply<const FUSED: bool>(self, values: &mut [f32]) {
        match self {
            Self::Gelu => values.iter_mut().for_each(|value| *value *= distribution::<FUSED>(*value)),
            Self::GeluNew => values.iter_mut().for_each(|value| *value *= gate(*value).0),
            Self::Relu => values.iter_mut().for_each(|value| *value = positive(*value)),
            Self::Tanh => values.iter_mut().for_each(|value| *value = 1.0 - 2.0 / (1.0 + exp(2.0 * *value))),
        }
    }
}

vectorised! {
    /// GELU with the error function, within 1e-6, in place.
    pub fn gelu(values: &mut [f32]) {
        for value in values {
            *value *= normal(*value).0;
        }
    }
}

vectorised! {
    /// GELU's tanh form, in place.
    pub fn gelu_new(values: &mut [f32]) {
        for value in values {
            *value *= gate(*value).0;
        }
    }
}

vectorised! {
    /// The positive part, in place.
    pub fn relu(values: &mut [f32]) {
        for value in values {
            *value = positive(*value);
        }
    }
}

/// Not `max`, which would turn NaN into 0.
#[inline(always)]
fn positive(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// The distribution of the standard normal law at `x`, such that `x` times it is within 1e-6;
/// cheaper than [`normal`], for it needs neither an exponential nor a division.
///
/// `1/2 + x · q(s)`, where `s` goes from -1 to 1 as `|x|` goes from 0 to 5.3, and `q` is the
/// polynomial with the least greatest error in `x² · q` that just passes 1/2 at 5.3 (found by
/// reweighted least squares over Chebyshev polynomials, then written in powers of `s`: its
/// coefficients fall, so rounding does no harm).
#[inline(always)]
fn distribution<const FUSED: bool>(x: f32) -> f32 {
    const EDGE: f32 = 5.3;
    const COEFFICIENTS: [f32; 15] = [
        0.000_229_632_92,
        -0.000_718_009_5,
        0.000_888_796_6,
        -0.001_227_029,
        0.002_959_919_6,
        -0.005_709_226,
        0.008_922_569,
        -0.013_256_612,
        0.018_900_58,
        -0.025_281_05,
        0.032_082_595,
        -0.039_590_683,
        0.049_264_04,
        -0.066_518_456,
        0.133_392_56,
    ];
    let inside = x.clamp(-EDGE, EDGE);
    let s = fused::<FUSED>(inside * inside, 2.0 / (EDGE * EDGE), -1.0);
    let mut q = COEFFICIENTS[0];
    for coefficient in &COEFFICIENTS[1..] {
        q = fused::<FUSED>(q, s, *coefficient);
    }
    fused::<FUSED>(inside, q, 0.5).clamp(0.0, 1.0)
}

/// Distribution and density of the standard normal law at `x`; the former within 2e-7.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: one exponential serves both.
#[inline(always)]
pub fn normal(x: f32) -> (f32, f32) {
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

/// The factor by which GELU's tanh form multiplies `x`, `σ(2u)` with
/// `u = √(2/π) (x + 0.044715 x³)`, and the slope of `2u`.
#[inline(always)]
pub fn gate(x: f32) -> (f32, f32) {
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
        // python3 -c "import math; [print((x, 0.5 * x * (1 + math.erf(x / 2**0.5)))) for x in
        // (-9.0, -3.0, -1.0, -0.25, 0.0, 0.5, 1.0, 2.0, 6.0)]"
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
    fn the_epilogue_of_a_product_is_within_a_millionth_everywhere_fused_or_not() {
        let gelu = |x: f64| 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        let gelu_new = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044715 * x.powi(3))).tanh());
        let references: [(Epilogue, &dyn Fn(f64) -> f64); 4] = [
            (Epilogue::Gelu, &gelu),
            (Epilogue::GeluNew, &gelu_new),
            (Epilogue::Relu, &|x| x.max(0.0)),
            (Epilogue::Tanh, &f64::tanh),
        ];
        for (epilogue, reference) in references {
            for x in (-400_000..=400_000).map(|step| step as f32 / 5e4).chain([-1e9, -30.0, 30.0, 1e9]) {
                let (mut fused, mut plain) = ([x], [x]);
                epilogue.apply::<true>(&mut fused);
                epilogue.apply::<false>(&mut plain);
                let expected = reference(f64::from(x));
                let tolerance = 1e-6 * (expected.abs() / 8.0).max(1.0);
                for y in [fused[0], plain[0]] {
                    assert!(
                        (f64::from(y) - expected).abs() < tolerance,
                        "{epilogue:?} of {x}: {y}, expected {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_epilogue_hides_a_nan() {
        for epilogue in [Epilogue::Gelu, Epilogue::GeluNew, Epilogue::Relu, Epilogue::Tanh] {
            let mut values = [f32::NAN, 1.0];
            epilogue.apply::<true>(&mut values);
            assert!(values[0].is_nan() && !values[1].is_nan());
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
