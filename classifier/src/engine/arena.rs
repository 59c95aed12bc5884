//! The memory of a forward pass, used again by the next.

use std::ops::Range;

use bert::TokenBatch;
use kernels::{Machine, Outcome, Panels, Span};

use super::linear::{Linear, Worker};
use super::norm::Norm;

/// The buffers of one worker.
#[derive(Debug, Default)]
pub(super) struct Arena<const L: usize> {
    /// Of each token, then perhaps of each text's `[CLS]`.
    pub hidden: Panels<L>,
    /// The same normalised, where that comes before each part of a layer.
    pub normal: Panels<L>,
    /// Queries, keys and values.
    pub projected: Panels<L>,
    /// What attention takes from the values.
    pub context: Panels<L>,
    pub inner: Panels<L>,
    /// Queries of `[CLS]`.
    pub queries: Panels<L>,
    /// Attention scores of some tokens, in one head.
    pub scores: Panels<L>,
    /// What these tokens take from the values.
    pub mixed: Panels<L>,
    /// The same two for one token.
    pub shares: Vec<[f32; L]>,
    pub mixture: Vec<f32>,
    pub pooled: Panels<L>,
    pub worker: Worker<L>,
}

impl<const L: usize> Arena<L> {
    /// Projects the vectors of all tokens: those that a norm before attention gives, or else the
    /// hidden ones.
    pub fn project<M: Machine<L, H>, const H: usize>(
        &mut self,
        machine: M,
        norm: Option<&Norm>,
        linear: &Linear<H>,
        tokens: Span,
    ) {
        self.normalise(machine, norm, 0..tokens.panels);
        let from = if norm.is_some() { &self.normal } else { &self.hidden };
        self.projected.reshape(linear.rows(), tokens.panels * L);
        linear.multiply(machine, from, tokens, Outcome::default(), &mut self.worker, &mut self.projected);
    }

    /// From `hidden` to `normal`, where there is a norm.
    pub fn normalise<M: Machine<L, H>, const H: usize>(
        &mut self,
        machine: M,
        norm: Option<&Norm>,
        panels: Range<usize>,
    ) {
        let Some(norm) = norm else { return };
        if panels.start == 0 {
            self.normal.reshape_as(&self.hidden);
        }
        for panel in panels.clone() {
            self.normal.panel_mut(panel).copy_from_slice(self.hidden.panel(panel));
        }
        norm.apply(machine, &mut self.normal, panels);
    }

    /// Keeps the hidden vector of each text's `[CLS]` alone.
    pub fn keep_first_tokens(&mut self, batch: &TokenBatch) {
        let rows = self.hidden.panel(0).len();
        self.pooled.reshape(rows, batch.texts());
        for (text, range) in batch.ranges().enumerate() {
            self.pooled.set_token(text, self.hidden.token(range.start));
        }
        std::mem::swap(&mut self.hidden, &mut self.pooled);
    }
}
