//! The forward pass, as a sequence of launches.

use bert::{Activation, ModelConfig, Parameters, TokenBatch};
use candle_core::{Result, bail};
use gpu::Argument::{Count, Memory, Number};
use gpu::{Chip, Epilogue, Grid, Kernels, Kind, Numbers, WARP, rows, threads};

use super::weights::{Layer, Norm, Pooler, Projection, Weights};

/// Threads of a block that a text has.
const THREADS: usize = 8 * WARP;

/// A BERT on a device.
#[derive(Debug)]
pub(super) struct Bert<C: Chip> {
    chip: C,
    weights: Weights<C::Memory>,
    scratch: Scratch<C::Memory>,
    sizes: Sizes,
    config: ModelConfig,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    width: usize,
    heads: usize,
    classes: usize,
    /// Tokens that the scratch memory has room for.
    capacity: usize,
}

/// What a forward pass writes to: made once, so that nothing is allocated in one.
#[derive(Debug)]
struct Scratch<M> {
    /// Ids, positions and starts of a batch.
    input: M,
    /// The vector of each token, or, after a layer that keeps no other, of the first of each text.
    hidden: M,
    /// The vectors of the first tokens on their way to `hidden`.
    first: M,
    /// What attention gives, and later what the pooler does.
    context: M,
    /// What is added to `hidden`.
    branch: M,
    /// Queries, keys and values, and later the inner vectors.
    broad: M,
    /// A number a token, for pooling.
    scores: M,
    /// Of all texts of a call.
    logits: M,
    /// Texts that `logits` has room for.
    texts: usize,
}

/// The numbers of tokens and texts in a batch, and the tokens of its longest text.
#[derive(Clone, Copy)]
struct Batch {
    tokens: usize,
    texts: usize,
    longest: usize,
}

impl Batch {
    /// Where the starts of the texts are in the input.
    fn starts(self) -> usize {
        2 * self.tokens
    }
}

/// The kernels for a model.
pub(super) fn kernels(config: &ModelConfig) -> Kernels {
    Kernels {
        name: "serving",
        parts: vec![gpu::COMMON.into(), include_str!("kernels.cu").into()],
        names: &[
            "embed",
            "add_norm",
            "gelu",
            "attention",
            "first_rows",
            "score",
            "weighted_mean",
            "greatest_rows",
            "head",
        ],
        macros: vec![("WIDTH", config.hidden_size), ("HEAD_SIZE", config.head_size())],
    }
}

/// Whether the kernels can do a model of this kind and these sizes. They move eight numbers at a
/// time, look up vectors of the layers' width, and normalise behind each part of a layer.
pub(super) fn suits(config: &ModelConfig) -> bool {
    if config.norms_first() || config.projects_embeddings() {
        return false;
    }
    let sizes = [config.hidden_size, config.intermediate_size, config.head_size()];
    sizes.iter().all(|size| *size > 0 && size % 8 == 0) && config.head_size() <= 128 && config.num_hidden_layers > 0
}

impl<C: Chip> Bert<C> {
    /// A model that takes batches of up to `tokens` tokens, or of one text.
    pub fn new(chip: C, config: &ModelConfig, parameters: &Parameters, tokens: usize) -> Result<Self> {
        let sizes = Sizes {
            width: config.hidden_size,
            heads: config.num_attention_heads,
            classes: config.classes.len(),
            capacity: tokens.max(config.longest_text()),
        };
        let weights = Weights::upload(&chip, config, parameters)?;
        let halves = |width: usize| chip.zeros(Kind::Halves, sizes.capacity * width);
        let scratch = Scratch {
            input: chip.zeros(Kind::Words, 3 * sizes.capacity + 1)?,
            hidden: halves(sizes.width)?,
            first: halves(sizes.width)?,
            context: halves(sizes.width)?,
            branch: halves(sizes.width)?,
            broad: halves(config.intermediate_size.max(3 * sizes.width))?,
            scores: chip.zeros(Kind::Floats, sizes.capacity)?,
            logits: chip.upload(Numbers::Floats(vec![0.0]))?,
            texts: 0,
        };
        // The next call may come from another thread, whose work is not ordered after this one's.
        chip.settle()?;
        Ok(Self { chip, weights, scratch, sizes, config: config.clone() })
    }

    /// The logits of so many texts in batches, one row a text, in order. The device is at work on a
    /// batch while the next is taken and sent, and is waited for once, at the end.
    pub fn forward(&mut self, texts: usize, batches: impl Iterator<Item = TokenBatch>) -> Result<Vec<Vec<f32>>> {
        let logits = self.run(texts, batches);
        if logits.is_err() {
            // Nothing may still be at work when the next call comes. That it fails again is no
            // news.
            self.chip.settle().ok();
        }
        logits
    }

    fn run(&mut self, texts: usize, batches: impl Iterator<Item = TokenBatch>) -> Result<Vec<Vec<f32>>> {
        if texts == 0 {
            return Ok(Vec::new());
        }
        if texts > self.scratch.texts {
            self.scratch.logits = self.chip.zeros(Kind::Floats, texts * self.sizes.classes)?;
            self.scratch.texts = texts;
        }
        let mut done = 0;
        for batch in batches {
            let words = self.pack(&batch)?;
            self.chip.send(&words, &mut self.scratch.input)?;
            let longest = batch.ranges().map(|text| text.len()).max().unwrap_or(0);
            self.start(Batch { tokens: batch.tokens(), texts: batch.texts(), longest }, done)?;
            done += batch.texts();
        }
        let logits = self.chip.fetch(&self.scratch.logits, done * self.sizes.classes)?;
        Ok(logits.chunks_exact(self.sizes.classes).map(<[f32]>::to_vec).collect())
    }

    /// Starts a forward pass over what is in the input, to the logits behind those of `done` texts.
    fn start(&mut self, batch: Batch, done: usize) -> Result<()> {
        let Self { chip, weights, scratch, sizes, .. } = self;
        let Norm { weight, bias, epsilon } = &weights.norm;
        chip.launch(
            "embed",
            rows(batch.tokens),
            &[
                Memory(&scratch.input),
                Count(batch.tokens),
                Memory(&weights.words),
                Memory(&weights.places),
                Memory(weight),
                Memory(bias),
                Number(*epsilon),
                Memory(&scratch.hidden),
            ],
        )?;
        for layer in &weights.layers {
            layer.start(chip, *sizes, batch, scratch)?;
        }
        let bend = weights.pooler.start(chip, batch, scratch)?;
        chip.launch(
            "head",
            rows(batch.texts),
            &[
                Memory(&scratch.context),
                Count(bend),
                Memory(&weights.head_weight),
                Memory(&weights.head_bias),
                Count(sizes.classes),
                Count(batch.texts),
                Count(done),
                Memory(&scratch.logits),
            ],
        )
    }
}

impl<C: Chip> Bert<C> {
    /// The ids, the positions and the starts.
    fn pack(&self, batch: &TokenBatch) -> Result<Vec<u32>> {
        let capacity = self.sizes.capacity;
        let positions = self.config.positions_of(batch)?;
        if batch.tokens() > capacity {
            bail!("a batch of {} tokens where there is room for {capacity} is a bug", batch.tokens());
        }
        let mut words = Vec::with_capacity(2 * batch.tokens() + batch.texts() + 1);
        words.extend_from_slice(batch.ids());
        words.extend(positions.into_iter().map(|position| position as u32));
        words.extend(batch.starts().iter().map(|start| *start as u32));
        Ok(words)
    }
}

impl<M> Layer<M> {
    /// From `hidden` to `hidden`.
    fn start<C: Chip<Memory = M>>(&self, chip: &C, sizes: Sizes, batch: Batch, scratch: &mut Scratch<M>) -> Result<()> {
        let kept = match &self.projection {
            Projection::Every(linear) => {
                chip.multiply(&scratch.hidden, batch.tokens, linear, Epilogue::Nothing, &mut scratch.broad)?;
                let places = Places { query_stride: 3 * sizes.width, stride: 3 * sizes.width, keys: sizes.width };
                attention(chip, sizes, batch, scratch, (&scratch.broad, places), false)?;
                batch.tokens
            }
            Projection::First { query, memory } => {
                chip.multiply(&scratch.hidden, batch.tokens, memory, Epilogue::Nothing, &mut scratch.broad)?;
                chip.launch(
                    "first_rows",
                    rows(batch.texts),
                    &[
                        Memory(&scratch.hidden),
                        Memory(&scratch.input),
                        Count(batch.starts()),
                        Count(batch.texts),
                        Memory(&scratch.first),
                    ],
                )?;
                std::mem::swap(&mut scratch.hidden, &mut scratch.first);
                chip.multiply(&scratch.hidden, batch.texts, query, Epilogue::Nothing, &mut scratch.branch)?;
                let places = Places { query_stride: sizes.width, stride: 2 * sizes.width, keys: 0 };
                attention(chip, sizes, batch, scratch, (&scratch.branch, places), true)?;
                batch.texts
            }
        };
        chip.multiply(&scratch.context, kept, &self.output, Epilogue::Nothing, &mut scratch.branch)?;
        self.attention_norm.start(chip, kept, scratch)?;
        self.inner(chip, kept, scratch)?;
        chip.multiply(&scratch.broad, kept, &self.outer, Epilogue::Nothing, &mut scratch.branch)?;
        self.outer_norm.start(chip, kept, scratch)
    }

    /// From `hidden` to `broad`.
    fn inner<C: Chip<Memory = M>>(&self, chip: &C, kept: usize, scratch: &mut Scratch<M>) -> Result<()> {
        let epilogue = match self.activation {
            Activation::Gelu => Epilogue::Nothing,
            Activation::GeluNew => Epilogue::TanhGelu,
            Activation::Relu => Epilogue::Relu,
            Activation::Tanh => bail!("a feed-forward block with tanh is a bug: no checkpoint has one"),
        };
        chip.multiply(&scratch.hidden, kept, &self.inner, epilogue, &mut scratch.broad)?;
        if self.activation == Activation::Gelu {
            let vectors = kept * self.inner.outputs / 8;
            chip.launch("gelu", threads(vectors), &[Memory(&scratch.broad), Count(vectors)])?;
        }
        Ok(())
    }
}

/// Where queries, keys and values are: the lengths of the rows, and the column of the first key.
#[derive(Clone, Copy)]
struct Places {
    query_stride: usize,
    stride: usize,
    keys: usize,
}

/// From the queries, and the keys and values in `broad`, to `context`.
fn attention<C: Chip>(
    chip: &C,
    sizes: Sizes,
    batch: Batch,
    scratch: &Scratch<C::Memory>,
    (queries, places): (&C::Memory, Places),
    first_only: bool,
) -> Result<()> {
    chip.launch(
        "attention",
        gpu::attention(batch.texts, sizes.heads, if first_only { 1 } else { batch.longest }),
        &[
            Memory(queries),
            Count(places.query_stride),
            Memory(&scratch.broad),
            Count(places.stride),
            Count(places.keys),
            Memory(&scratch.input),
            Count(batch.starts()),
            Count(first_only.into()),
            Count(sizes.heads),
            Memory(&scratch.context),
        ],
    )
}

impl<M> Norm<M> {
    /// Adds `branch` to `hidden` and normalises that.
    fn start<C: Chip<Memory = M>>(&self, chip: &C, kept: usize, scratch: &Scratch<M>) -> Result<()> {
        chip.launch(
            "add_norm",
            rows(kept),
            &[
                Memory(&scratch.branch),
                Count(kept),
                Memory(&self.weight),
                Memory(&self.bias),
                Number(self.epsilon),
                Memory(&scratch.hidden),
            ],
        )
    }
}

impl<M> Pooler<M> {
    /// From `hidden` to `context`, a row a text. How it is left to be bent, as `kernels.cu` counts
    /// the ways.
    fn start<C: Chip<Memory = M>>(&self, chip: &C, batch: Batch, scratch: &mut Scratch<M>) -> Result<usize> {
        let a_text = Grid { blocks: (batch.texts, 1), threads: THREADS };
        match self {
            Self::Cls { dense, .. } => {
                chip.multiply(&scratch.hidden, batch.texts, dense, Epilogue::Nothing, &mut scratch.context)?;
            }
            Self::Max => {
                chip.launch(
                    "greatest_rows",
                    a_text,
                    &[Memory(&scratch.hidden), Memory(&scratch.input), Count(batch.starts()), Memory(&scratch.context)],
                )?;
            }
            Self::Weighted(query) => {
                chip.launch(
                    "score",
                    rows(batch.tokens),
                    &[Memory(&scratch.hidden), Memory(query), Count(batch.tokens), Memory(&scratch.scores)],
                )?;
                chip.launch(
                    "weighted_mean",
                    a_text,
                    &[
                        Memory(&scratch.hidden),
                        Memory(&scratch.scores),
                        Memory(&scratch.input),
                        Count(batch.starts()),
                        Memory(&scratch.context),
                    ],
                )?;
            }
        }
        Ok(match self {
            Self::Cls { bend: Activation::Tanh, .. } => 1,
            Self::Cls { bend: Activation::Gelu, .. } => 2,
            Self::Cls { bend: Activation::Relu, .. } => 3,
            Self::Cls { bend: Activation::GeluNew, .. } => 4,
            _ => 0,
        })
    }
}
