//! The arithmetic that loops over rows share, inlined into them so that it is compiled for their
//! vectors.

/// Partial results of a sum, wide enough for the widest vector registers.
const LANES: usize = 16;

/// The sum of `value(i)`, in an order that vector registers like.
#[inline(always)]
pub fn sum_of(count: usize, value: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += value(start + lane);
        }
    }
    lanes.iter().sum::<f32>() + (whole..count).map(value).sum::<f32>()
}

/// `a · b + c`, rounded once where `FUSED`. Only code compiled for a machine with such an
/// instruction may ask for that: elsewhere it is a slow call.
#[inline(always)]
pub fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// `e` to the power of `x`, within 2 units in the last place; 0 (or close to it) below -87, and NaN
/// for NaN.
///
/// The method of Cephes' `expf`: a power of two times a polynomial over `[-ln 2 / 2, ln 2 / 2]`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2^23 leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first with few enough bits that `n` times it is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let worst = (-8_700..8_799)
            .map(|step| step as f32 / 100.0 + 0.003)
            .map(|x| ((f64::from(exp(x)) - f64::from(x).exp()) / f64::from(x).exp()).abs())
            .fold(0.0, f64::max);
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e4) < 1e-37);
        assert!(exp(f32::NAN).is_nan());
    }
}
