//! What a step of AdamW multiplies with, whoever takes it.

/// The share of the first moment that a step keeps.
pub(crate) const BETA_1: f64 = 0.9;

/// The share of the second moment that a step keeps.
pub(crate) const BETA_2: f64 = 0.999;

/// Added to the root of the second moment.
pub(crate) const EPSILON: f64 = 1e-8;

/// What a step multiplies with, bias corrections included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors {
    /// Of the gradient: below 1 where it is clipped.
    pub gradient: f64,
    /// Of the parameter: below 1 where it decays.
    pub decay: f64,
    /// The learning rate over the correction of the first moment.
    pub rate: f64,
    /// One over the root of the correction of the second moment.
    pub second: f64,
}
