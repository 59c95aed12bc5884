//! Self-attention inside each text: `softmax(query · keyᵀ) · value` for each head, the queries
//! already divided by the root of the head's size.

use std::ops::Range;

use bert::TokenBatch;
use kernels::{Edge, Left, Machine, Panels, Share, mix_tokens, multiply_tokens, powers_of_tokens, softmax};

use super::arena::Arena;

/// The rows where queries, keys and values start.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub query: usize,
    pub key: usize,
    pub value: usize,
    /// Rows of all heads together.
    pub width: usize,
    pub heads: usize,
}

impl Places {
    /// The same for each head of a share alone, and its rows in the result.
    fn heads(self, share: Share) -> impl Iterator<Item = (Self, Range<usize>)> {
        let size = self.width / self.heads;
        share.of(self.heads).map(move |head| {
            let (query, key, value) = (self.query + head * size, self.key + head * size, self.value + head * size);
            (Self { query, key, value, width: size, heads: 1 }, head * size..(head + 1) * size)
        })
    }
}

/// From `arena.projected` to `arena.context`.
pub(super) fn every_token<M: Machine<L, H>, const L: usize, const H: usize>(
    machine: M,
    places: &Places,
    batch: &TokenBatch,
    arena: &mut Arena<L>,
) {
    let Arena { projected, context, scores, mixed, worker, .. } = arena;
    context.reshape(places.width, batch.tokens());
    if let Some(last) = batch.tokens().div_ceil(L).checked_sub(1) {
        // Some of its lanes may have no token.
        context.panel_mut(last).fill([0.0; L]);
    }
    for text in batch.ranges() {
        for (head, rows) in places.heads(worker.member.share()) {
            let mut attention =
                Attention { machine, projected, text: text.clone(), head, rows, scores, mixed, context };
            let mut panels = text.start / L..text.end.div_ceil(L);
            while !panels.is_empty() {
                let width = panels.len().min(M::WIDTH);
                match width {
                    1 => attention.panels::<H, 1>(panels.start),
                    2 => attention.panels::<H, 2>(panels.start),
                    _ => attention.panels::<H, 3>(panels.start),
                }
                panels.start += width;
            }
        }
    }
    worker.member.exchange(context, 0..batch.tokens().div_ceil(L), places.heads, places.width / places.heads);
}

/// One head of one text. The lanes of its panels that belong to other texts are computed along, and
/// then left out.
struct Attention<'a, M, const L: usize> {
    machine: M,
    projected: &'a Panels<L>,
    text: Range<usize>,
    head: Places,
    rows: Range<usize>,
    scores: &'a mut Panels<L>,
    mixed: &'a mut Panels<L>,
    context: &'a mut Panels<L>,
}

impl<M, const L: usize> Attention<'_, M, L> {
    /// For the queries of P panels from the `first` on.
    fn panels<const H: usize, const P: usize>(&mut self, first: usize)
    where
        M: Machine<L, H>,
    {
        self.score::<H, P>(first);
        let keys = self.text.start % L..self.text.start % L + self.text.len();
        let mut factors = [[0.0; L]; P];
        for (panel, factors) in factors.iter_mut().enumerate() {
            powers_of_tokens(&mut self.scores.panel_mut(panel)[keys.clone()], factors);
        }
        self.mix::<H, P>(first, &factors);
    }

    /// Scores of each query with the keys of all panels of the text, a row a key.
    fn score<const H: usize, const P: usize>(&mut self, first: usize)
    where
        M: Machine<L, H>,
    {
        let Self { machine, projected, text, head, scores, .. } = self;
        let panels = text.start / L..text.end.div_ceil(L);
        scores.reshape(panels.len() * L, P * L);
        let queries = projected.panels::<P>(first).map(|panel| &panel[head.query..head.query + head.width]);
        for key in (panels.start * L..panels.end * L).step_by(H) {
            if key + H > text.start && key < text.end {
                let left = Left { values: &projected.from(key / L, head.key)[key % L..], step: L, row: 1 };
                machine.tile(left, queries, Edge::PLAIN, scores.panels_mut(0, key - panels.start * L));
            }
        }
    }

    /// The values, weighted by the powers of their keys' scores, and each token's result times its
    /// factor.
    fn mix<const H: usize, const P: usize>(&mut self, first: usize, factors: &[[f32; L]; P])
    where
        M: Machine<L, H>,
    {
        let Self { machine, projected, text, head, rows, scores, mixed, context } = self;
        let panels = text.start / L..text.end.div_ceil(L);
        mixed.reshape(head.width.next_multiple_of(H), P * L);
        for row in (0..head.width).step_by(H) {
            for (number, panel) in panels.clone().enumerate() {
                let lanes = lanes::<L>(text, panel);
                let shares = scores.panels::<P>(0).map(|scores| &scores[number * L..][lanes.clone()]);
                let left = Left { values: &projected.from(panel, head.value + row)[lanes.start..], step: 1, row: L };
                let edge = Edge { add: number > 0, ..Edge::PLAIN };
                machine.tile(left, shares, edge, mixed.panels_mut(0, row));
            }
        }
        for (panel, (mixed, factors)) in (first..).zip(mixed.panels::<P>(0).into_iter().zip(factors)) {
            machine.merge(mixed, factors, lanes::<L>(text, panel), &mut context.panel_mut(panel)[rows.clone()]);
        }
    }
}

/// The lanes of a panel that belong to the text.
fn lanes<const L: usize>(text: &Range<usize>, panel: usize) -> Range<usize> {
    text.start.saturating_sub(panel * L)..L.min(text.end - panel * L)
}

/// For the first token of each text alone, whose query is in `arena.queries`: from
/// `arena.projected` to `arena.context`, a vector a text.
pub(super) fn first_tokens<const L: usize>(places: &Places, batch: &TokenBatch, arena: &mut Arena<L>) {
    let Arena { projected, context, queries, shares, mixture, worker, .. } = arena;
    context.reshape(places.width, batch.texts());
    mixture.resize(places.width, 0.0);
    for (number, text) in batch.ranges().enumerate() {
        mixture.clear();
        mixture.extend(queries.token(number).take(places.width));
        for (head, rows) in places.heads(worker.member.share()) {
            first_shares(projected, &mixture[rows.clone()], &text, head.key, shares);
            // The query has been read: its place is free.
            mixture[rows.clone()].fill(0.0);
            for (panel, shares) in (text.start / L..).zip(&*shares) {
                mix_tokens(
                    shares,
                    &projected.panel(panel)[head.value..head.value + head.width],
                    &mut mixture[rows.clone()],
                );
            }
        }
        context.set_token(number, mixture.iter().copied());
    }
    worker.member.exchange(context, 0..batch.texts().div_ceil(L), places.heads, places.width / places.heads);
}

/// The softmax of the products of one query with the keys of its text, in the lanes where the keys
/// are; 0 in the others.
fn first_shares<const L: usize>(
    projected: &Panels<L>,
    query: &[f32],
    text: &Range<usize>,
    key: usize,
    shares: &mut Vec<[f32; L]>,
) {
    let panels = text.start / L..text.end.div_ceil(L);
    shares.clear();
    shares.resize(panels.len(), [0.0; L]);
    for (panel, shares) in panels.zip(shares.iter_mut()) {
        multiply_tokens(query, &projected.panel(panel)[key..key + query.len()], shares);
    }
    let lanes = text.start % L..text.start % L + text.len();
    let all = shares.as_flattened_mut();
    all[..lanes.start].fill(0.0);
    all[lanes.end..].fill(0.0);
    softmax(&mut all[lanes.clone()], lanes.len());
}
