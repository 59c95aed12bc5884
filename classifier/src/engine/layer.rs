//! An encoder layer.

use bert::{Activation, ModelConfig, Parameters, TokenBatch};
use candle_core::Result;
use kernels::{Epilogue, Machine, Outcome, Panels, Span};

use super::arena::Arena;
use super::attention::{self, Places};
use super::linear::{Linear, Stored};
use super::norm::Norm;
use crate::precision::Precision;

/// An encoder layer.
#[derive(Debug)]
pub(super) struct Layer<const H: usize> {
    projections: Projections<H>,
    heads: usize,
    /// Whether each part is normalised before it, and not behind.
    norms_first: bool,
    output: Linear<H>,
    attention_norm: Norm,
    inner: Linear<H>,
    activation: Epilogue,
    outer: Linear<H>,
    outer_norm: Norm,
}

/// What attention compares and mixes.
#[derive(Debug)]
enum Projections<const H: usize> {
    /// Query, key and value of every token at once.
    All(Linear<H>),
    /// Key and value of every token, the query of `[CLS]`, where nothing else of the layer is read.
    Cls { key_value: Linear<H>, query: Linear<H> },
}

/// Tokens whose inner vectors are made and used at once: they stay in the second-level cache.
const INNER_TOKENS: usize = 192;

impl<const H: usize> Layer<H> {
    /// `cls_alone`: nothing but the vectors of `[CLS]` is read of this layer.
    pub fn new<M: Machine<L, H>, const L: usize>(
        index: usize,
        cls_alone: bool,
        config: &ModelConfig,
        parameters: &Parameters,
        precision: Precision,
    ) -> Result<Self> {
        let name = |part: &str| format!("bert.encoder.layer.{index}.{part}");
        let stored = |part: &str| Stored::read(&name(part), parameters);
        let norm = |part: &str| Norm::new(&name(part), config, parameters);
        let linear = |stored: &Stored| Linear::new::<M, L>(stored, precision);
        let head_size = config.hidden_size / config.num_attention_heads;
        // Attention divides the products of queries and keys by this root: dividing the queries
        // does the same.
        let query = stored("attention.self.query")?.scaled(1.0 / (head_size as f32).sqrt());
        let (key, value) = (stored("attention.self.key")?, stored("attention.self.value")?);
        let projections = if cls_alone {
            Projections::Cls { key_value: linear(&Stored::stack([key, value])), query: linear(&query) }
        } else {
            Projections::All(linear(&Stored::stack([query, key, value])))
        };
        Ok(Self {
            projections,
            heads: config.num_attention_heads,
            norms_first: config.norms_first(),
            output: linear(&stored("attention.output.dense")?),
            attention_norm: norm("attention.output.LayerNorm")?,
            inner: linear(&stored("intermediate.dense")?),
            activation: epilogue(config.hidden_act),
            outer: linear(&stored("output.dense")?),
            outer_norm: norm("output.LayerNorm")?,
        })
    }

    /// From `arena.hidden` to `arena.hidden`: the vectors of all tokens, or of each text's `[CLS]`
    /// where that alone is read.
    pub fn forward<M: Machine<L, H>, const L: usize>(&self, machine: M, batch: &TokenBatch, arena: &mut Arena<L>) {
        let width = self.attention_norm.width();
        let tokens = Span::all(batch.tokens().div_ceil(L));
        let first_norm = self.norms_first.then_some(&self.attention_norm);
        match &self.projections {
            Projections::All(linear) => {
                arena.project(machine, first_norm, linear, tokens);
                let places = Places { query: 0, key: width, value: 2 * width, width, heads: self.heads };
                attention::every_token(machine, &places, batch, arena);
                self.rest(machine, tokens, arena);
            }
            Projections::Cls { key_value, query } => {
                arena.project(machine, first_norm, key_value, tokens);
                arena.keep_first_tokens(batch);
                let texts = Span::all(batch.texts().div_ceil(L));
                arena.normalise(machine, first_norm, 0..texts.panels);
                arena.queries.reshape(query.rows(), batch.texts());
                let Arena { hidden, normal, queries, worker, .. } = arena;
                let from = if self.norms_first { normal } else { hidden };
                query.multiply(machine, from, texts, Outcome::default(), worker, queries);
                let places = Places { query: 0, key: 0, value: width, width, heads: self.heads };
                attention::first_tokens(&places, batch, arena);
                self.rest(machine, texts, arena);
            }
        }
    }

    /// Everything after attention, from `context` and the residual in `hidden`.
    fn rest<M: Machine<L, H>, const L: usize>(&self, machine: M, all: Span, arena: &mut Arena<L>) {
        let add = Outcome { add: true, epilogue: None };
        let epilogue = Outcome { add: false, epilogue: Some(self.activation) };
        for span in all.cut(INNER_TOKENS / L) {
            let panels = span.from..span.from + span.panels;
            let Arena { hidden, context, worker, .. } = arena;
            self.output.multiply(machine, context, span, add, worker, hidden);
            if self.norms_first {
                arena.normalise(machine, Some(&self.outer_norm), panels.clone());
            } else {
                self.attention_norm.apply(machine, hidden, panels.clone());
            }
            let Arena { hidden, normal, inner, worker, .. } = arena;
            let from: &Panels<L> = if self.norms_first { normal } else { hidden };
            inner.reshape(self.inner.rows(), span.panels * L);
            self.inner.multiply(machine, from, Span { to: 0, ..span }, epilogue, worker, inner);
            self.outer.multiply(machine, inner, Span { from: 0, ..span }, add, worker, hidden);
            if !self.norms_first {
                self.outer_norm.apply(machine, hidden, panels);
            }
        }
    }
}

/// What the kernels do at the end of a product.
pub(super) fn epilogue(activation: Activation) -> Epilogue {
    match activation {
        Activation::Gelu => Epilogue::Gelu,
        Activation::GeluNew => Epilogue::GeluNew,
        Activation::Relu => Epilogue::Relu,
        Activation::Tanh => Epilogue::Tanh,
    }
}
