//! An encoder layer, forward and backward.

use bert::{Activation, Site};
use candle_core::Result;
use gpu::Argument::{Count, Memory};
use gpu::{Argument, Chip, Grid, Kind, WARP, rows, threads};

use super::linear::Linear;
use super::norm::{Norm, Normal, Rows};
use super::{Pass, Scratch, Stored};

/// Threads of a block of the attention kernels of the way back, as `kernels.cu` has them.
const ATTENTION_THREADS: usize = 4 * WARP;

#[derive(Debug)]
pub(super) struct Layer<M> {
    /// Counted from 1: the embeddings are layer 0 to dropout.
    number: usize,
    width: usize,
    heads: usize,
    projection: Projection<M>,
    attention_output: Linear<M>,
    attention_norm: Norm<M>,
    inner: Linear<M>,
    activation: Activation,
    outer: Linear<M>,
    outer_norm: Norm<M>,
    attention_dropout: f64,
    hidden_dropout: f64,
}

/// Queries, keys and values.
#[derive(Debug)]
enum Projection<M> {
    /// All three of every token.
    Every(Linear<M>),
    /// Keys and values of every token, queries of the first of each text: of the last layer nothing
    /// else is read.
    First { query: Linear<M>, memory: Linear<M> },
}

/// What a layer's way there leaves for its way back.
#[derive(Debug)]
pub(super) struct LayerTrace<M> {
    /// Queries, keys and values, or the latter two.
    projected: M,
    /// The rows of first tokens, and their queries.
    first: M,
    query: M,
    context: M,
    /// Of what each softmax divides by.
    logarithms: M,
    attention_normal: Normal<M>,
    attended: M,
    inner: M,
    active: M,
    outer_normal: Normal<M>,
    /// What comes out.
    pub hidden: M,
}

/// Where queries, keys and values are: the lengths of the rows, and the column of the first key.
struct Places<'a, M> {
    queries: &'a M,
    query_stride: usize,
    stride: usize,
    keys: usize,
}

impl<M> Layer<M> {
    pub fn new<C: Chip<Memory = M>>(number: usize, stored: &Stored<'_, C>) -> Result<Self> {
        let config = stored.config;
        let name = |part: &str| format!("bert.encoder.layer.{}.{part}", number - 1);
        let [query, key, value] = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        let projection = if number == config.num_hidden_layers {
            Projection::First { query: Linear::new(&[query], stored)?, memory: Linear::new(&[key, value], stored)? }
        } else {
            Projection::Every(Linear::new(&[query, key, value], stored)?)
        };
        Ok(Self {
            number,
            width: config.hidden_size,
            heads: config.num_attention_heads,
            projection,
            attention_output: Linear::new(&[name("attention.output.dense")], stored)?,
            attention_norm: Norm::new(&name("attention.output.LayerNorm"), stored)?,
            inner: Linear::new(&[name("intermediate.dense")], stored)?,
            activation: config.hidden_act,
            outer: Linear::new(&[name("output.dense")], stored)?,
            outer_norm: Norm::new(&name("output.LayerNorm"), stored)?,
            attention_dropout: config.attention_probs_dropout_prob,
            hidden_dropout: config.hidden_dropout_prob,
        })
    }

    /// Memory for so many tokens.
    pub fn make_room<C: Chip<Memory = M>>(&self, chip: &C, tokens: usize) -> Result<LayerTrace<M>> {
        let halves = |columns: usize| chip.zeros(Kind::Halves, tokens * columns);
        let floats = |columns: usize| chip.zeros(Kind::Floats, tokens * columns);
        let normal = || Ok::<_, candle_core::Error>(Normal { values: halves(self.width)?, scales: floats(1)? });
        // Only the last layer has rows of first tokens.
        let first = || if matches!(self.projection, Projection::Every(_)) { halves(0) } else { halves(self.width) };
        Ok(LayerTrace {
            projected: halves(3 * self.width)?,
            first: first()?,
            query: first()?,
            context: halves(self.width)?,
            logarithms: floats(self.heads)?,
            attention_normal: normal()?,
            attended: halves(self.width)?,
            inner: halves(self.inner.outputs())?,
            active: halves(self.inner.outputs())?,
            outer_normal: normal()?,
            hidden: halves(self.width)?,
        })
    }

    /// Takes over what the parameters are now.
    pub fn refresh<C: Chip<Memory = M>>(&self, chip: &C) -> Result<()> {
        let projections = match &self.projection {
            Projection::Every(all) => vec![all],
            Projection::First { query, memory } => vec![query, memory],
        };
        let others = [&self.attention_output, &self.inner, &self.outer];
        projections.into_iter().chain(others).try_for_each(|linear| linear.refresh(chip))
    }

    pub fn forward<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        pass: &Pass<'_, M>,
        x: &M,
        trace: &mut LayerTrace<M>,
        scratch: &mut Scratch<M>,
    ) -> Result<()> {
        let batch = pass.batch;
        match &self.projection {
            Projection::Every(all) => all.forward(chip, x, batch.tokens, &mut trace.projected)?,
            Projection::First { query, memory } => {
                memory.forward(chip, x, batch.tokens, &mut trace.projected)?;
                let place = [Memory(pass.input), Count(batch.starts_at), Count(batch.texts)];
                let [input, starts, texts] = place;
                chip.launch("first_rows", rows(batch.texts), &[Memory(x), input, starts, texts, Memory(&trace.first)])?;
                query.forward(chip, &trace.first, batch.texts, &mut trace.query)?;
            }
        }
        let results = [Memory(&trace.context), Memory(&trace.logarithms)];
        let longest = if self.first_only() { 1 } else { batch.longest };
        let grid = gpu::attention(batch.texts, self.heads, longest);
        self.attend(chip, "attention", grid, pass, trace, results)?;

        self.attention_output.forward(chip, &trace.context, self.kept(pass), &mut scratch.branch)?;
        let residual = if self.first_only() { &trace.first } else { x };
        let of = self.rows(pass, Site::AttentionOutput);
        let added = (&scratch.branch, residual);
        self.attention_norm.forward(chip, pass, of, added, &trace.attention_normal, &trace.attended)?;

        self.inner.forward(chip, &trace.attended, self.kept(pass), &mut trace.inner)?;
        self.bend(chip, "bend", pass, &trace.inner, &trace.active)?;
        self.outer.forward(chip, &trace.active, self.kept(pass), &mut scratch.branch)?;
        let added = (&scratch.branch, &trace.attended);
        self.outer_norm.forward(chip, pass, self.rows(pass, Site::Output), added, &trace.outer_normal, &trace.hidden)
    }

    /// Turns the gradient of what came out, in `scratch.gradient`, into that of what went in, and
    /// learns.
    pub fn backward<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        pass: &Pass<'_, M>,
        x: &M,
        trace: &LayerTrace<M>,
        scratch: &mut Scratch<M>,
        add: bool,
    ) -> Result<()> {
        let (kept, tokens) = (self.kept(pass), pass.batch.tokens);
        self.outer_norm.backward(chip, pass, self.rows(pass, Site::Output), &trace.outer_normal, scratch, add)?;
        self.outer.learn(chip, &trace.active, &scratch.branch, kept, &scratch.partial, add)?;
        self.outer.backward(chip, &scratch.branch, kept, &scratch.inner, false)?;
        self.bend(chip, "bend_backward", pass, &trace.inner, &scratch.inner)?;
        self.inner.learn(chip, &trace.attended, &scratch.inner, kept, &scratch.partial, add)?;
        self.inner.backward(chip, &scratch.inner, kept, &scratch.gradient, true)?;

        let of = self.rows(pass, Site::AttentionOutput);
        self.attention_norm.backward(chip, pass, of, &trace.attention_normal, scratch, add)?;
        self.attention_output.learn(chip, &trace.context, &scratch.branch, kept, &scratch.partial, add)?;
        self.attention_output.backward(chip, &scratch.branch, kept, &scratch.context, false)?;
        let of_query = if self.first_only() { &scratch.query } else { &scratch.projected };
        let operands = [Memory(&trace.context), Memory(&trace.logarithms), Memory(&scratch.context)];
        let [context, logarithms, gradient] = operands;
        let results = [context, logarithms, gradient, Memory(&scratch.means), Memory(of_query)];
        let grid = Grid { blocks: (pass.batch.texts, self.heads), threads: ATTENTION_THREADS };
        self.attend(chip, "attention_queries", grid, pass, trace, results)?;
        let operands = [Memory(&trace.logarithms), Memory(&scratch.means), Memory(&scratch.context)];
        let [logarithms, means, gradient] = operands;
        let results = [logarithms, means, gradient, Memory(&scratch.projected)];
        self.attend(chip, "attention_keys", grid, pass, trace, results)?;

        match &self.projection {
            Projection::Every(all) => {
                all.learn(chip, x, &scratch.projected, tokens, &scratch.partial, add)?;
                all.backward(chip, &scratch.projected, tokens, &scratch.gradient, true)
            }
            Projection::First { query, memory } => {
                query.learn(chip, &trace.first, &scratch.query, kept, &scratch.partial, add)?;
                query.backward(chip, &scratch.query, kept, &scratch.gradient, true)?;
                memory.learn(chip, x, &scratch.projected, tokens, &scratch.partial, add)?;
                memory.backward(chip, &scratch.projected, tokens, &scratch.tokens, false)?;
                let place = [Memory(pass.input), Count(pass.batch.starts_at), Count(kept)];
                let [input, starts, texts] = place;
                let all = Memory(&scratch.tokens);
                chip.launch("add_first_rows", rows(kept), &[Memory(&scratch.gradient), input, starts, texts, all])?;
                std::mem::swap(&mut scratch.gradient, &mut scratch.tokens);
                Ok(())
            }
        }
    }

    /// One of the attention kernels, which have their first arguments in common.
    fn attend<const COUNT: usize, C: Chip<Memory = M>>(
        &self,
        chip: &C,
        kernel: &'static str,
        grid: Grid,
        pass: &Pass<'_, M>,
        trace: &LayerTrace<M>,
        others: [Argument<'_, M>; COUNT],
    ) -> Result<()> {
        let Places { queries, query_stride, stride, keys } = self.places(trace);
        let mut arguments = vec![
            Memory(queries),
            Count(query_stride),
            Memory(&trace.projected),
            Count(stride),
            Count(keys),
            Memory(pass.input),
            Count(pass.batch.starts_at),
            Count(pass.batch.scores_at),
            Count(self.first_only().into()),
            Count(self.heads),
        ];
        arguments.extend(pass.dropped(self.number, Site::Attention, self.attention_dropout).arguments());
        arguments.extend(others);
        chip.launch(kernel, grid, &arguments)
    }

    fn bend<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        kernel: &'static str,
        pass: &Pass<'_, M>,
        inner: &M,
        other: &M,
    ) -> Result<()> {
        let vectors = self.kept(pass) * self.inner.outputs() / 8;
        let kind = Count(kind(self.activation));
        chip.launch(kernel, threads(vectors), &[Memory(inner), kind, Count(vectors), Memory(other)])
    }

    fn places<'a>(&self, trace: &'a LayerTrace<M>) -> Places<'a, M> {
        let width = self.width;
        match self.projection {
            Projection::Every(_) => {
                Places { queries: &trace.projected, query_stride: 3 * width, stride: 3 * width, keys: width }
            }
            Projection::First { .. } => {
                Places { queries: &trace.query, query_stride: width, stride: 2 * width, keys: 0 }
            }
        }
    }

    fn first_only(&self) -> bool {
        matches!(self.projection, Projection::First { .. })
    }

    /// Rows that come out.
    fn kept(&self, pass: &Pass<'_, M>) -> usize {
        if self.first_only() { pass.batch.texts } else { pass.batch.tokens }
    }

    fn rows(&self, pass: &Pass<'_, M>, site: Site) -> Rows {
        Rows {
            count: self.kept(pass),
            first_only: self.first_only(),
            dropped: pass.dropped(self.number, site, self.hidden_dropout),
        }
    }
}

/// An activation function, as the kernels count them.
pub(super) fn kind(activation: Activation) -> usize {
    match activation {
        Activation::Tanh => 1,
        Activation::Gelu => 2,
        Activation::Relu => 3,
        Activation::GeluNew => 4,
    }
}
