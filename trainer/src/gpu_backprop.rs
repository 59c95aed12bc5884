//! The BERT that learns on a GPU: the passes of `backprop` as launches, in bf16 with gradients of
//! parameters in f32.
//!
//! Everything that a pass gives stays on the device until the way back has used it, in memory that
//! the next batch uses again. What the host waits for are the logits, of which it makes the loss.

pub(crate) mod agreement;
mod batch;
mod embeddings;
mod head;
mod layer;
mod linear;
mod norm;
mod optimizer;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bert::{Dropout, ModelConfig, Parameters, Pooling, Site, TokenBatch};
use candle_core::{Result, Tensor};
use gpu::{Argument, Chip, Kernels, Kind, Numbers};

use self::batch::Batch;
use self::embeddings::{Embeddings, EmbeddingsTrace};
use self::head::{Head, HeadTrace};
use self::layer::{Layer, LayerTrace};
use self::norm::Normal;
pub(crate) use self::optimizer::Optimizer;

/// Rows that one block of the kernel `sum_columns` sums.
const COLUMN_ROWS: usize = 256;

/// Tokens that memory is made for at least.
const SMALLEST: usize = 1024;

/// The kernels for a model.
pub(crate) fn kernels(config: &ModelConfig) -> Kernels {
    Kernels {
        name: "learning",
        parts: vec![gpu::COMMON.into(), include_str!("gpu_backprop/kernels.cu").into()],
        names: &[
            "halve",
            "clear",
            "embed",
            "add_norm",
            "norm_backward",
            "drop_rows",
            "bend",
            "bend_backward",
            "attention",
            "attention_queries",
            "attention_keys",
            "sum_columns",
            "finish_columns",
            "add_to_rows",
            "first_rows",
            "add_first_rows",
            "classify",
            "classify_backward",
            "classifier_gradients",
        ],
        macros: vec![("WIDTH", config.hidden_size), ("HEAD_SIZE", config.head_size())],
    }
}

/// Whether the kernels can do a model of this kind and these sizes: those that serving can do, with
/// a dense layer over `[CLS]`, each layer with weights of its own.
pub(crate) fn suits(config: &ModelConfig) -> bool {
    let sizes = [config.hidden_size, config.intermediate_size, config.head_size()];
    sizes.iter().all(|size| *size > 0 && size % 8 == 0)
        && config.head_size() <= 128
        && config.num_hidden_layers > 0
        && config.pooling == Pooling::Cls
        && config.sharing.is_none()
        && !config.norms_first()
        && !config.projects_embeddings()
}

/// A BERT over parameters on a device, whose values it reads at each step, with their gradients.
#[derive(Debug)]
pub(crate) struct Network<C: Chip> {
    chip: C,
    config: ModelConfig,
    embeddings: Embeddings<C::Memory>,
    layers: Vec<Layer<C::Memory>>,
    head: Head<C::Memory>,
    trace: Option<Trace<C::Memory>>,
    /// Of the parameters that are variables, in the order of their names.
    #[cfg(feature = "cuda")]
    gradients: Vec<Tensor>,
    /// The same, as the kernels write them.
    memories: Vec<Arc<C::Memory>>,
}

/// What a batch's way through the network leaves for its way back, and the memory of the latter.
#[derive(Debug)]
struct Trace<M> {
    capacity: usize,
    input: M,
    batch: Batch,
    dropout: Option<Dropout>,
    embeddings: EmbeddingsTrace<M>,
    layers: Vec<LayerTrace<M>>,
    head: HeadTrace<M>,
    scratch: Scratch<M>,
}

/// Memory that every layer uses.
#[derive(Debug)]
struct Scratch<M> {
    /// What is added to a layer's vectors, and the gradient of that.
    branch: M,
    /// The gradient of what came out of the layer that the way back has come to.
    gradient: M,
    /// Of all tokens, where `gradient` is of the first of each text alone.
    tokens: M,
    inner: M,
    context: M,
    projected: M,
    query: M,
    means: M,
    partial: M,
}

/// A batch on its way.
struct Pass<'a, M> {
    input: &'a M,
    batch: &'a Batch,
    dropout: Option<&'a Dropout>,
}

impl<M> Pass<'_, M> {
    /// What is dropped at a place of the network.
    fn dropped(&self, layer: usize, site: Site, probability: f64) -> Dropped {
        let mask = self.dropout.and_then(|dropout| dropout.site(layer, site, probability));
        mask.as_ref().map_or(Dropped::NOTHING, |mask| {
            let (keys, threshold, scale) = mask.parts();
            Dropped { keys, threshold, scale }
        })
    }
}

/// A mask as kernels take it.
#[derive(Clone, Copy)]
struct Dropped {
    keys: [u32; 2],
    threshold: u32,
    scale: f32,
}

impl Dropped {
    const NOTHING: Self = Self { keys: [0, 0], threshold: 0, scale: 1.0 };

    fn is_nothing(self) -> bool {
        self.threshold == 0
    }

    fn arguments<'a, M>(self) -> [Argument<'a, M>; 4] {
        let [low, high] = self.keys.map(Argument::Bits);
        [low, high, Argument::Bits(self.threshold), Argument::Number(self.scale)]
    }
}

/// A parameter, and its gradient where it learns.
#[derive(Debug)]
struct Learned<M> {
    value: M,
    gradient: Option<Arc<M>>,
    count: usize,
}

/// Where parameters come from.
struct Stored<'a, C: Chip> {
    chip: &'a C,
    config: &'a ModelConfig,
    parameters: &'a Parameters,
    gradients: &'a [Arc<C::Memory>],
}

impl<C: Chip> Stored<'_, C> {
    fn learned(&self, name: &str) -> Result<Learned<C::Memory>> {
        let (tensor, slot) = (self.parameters.get(name)?, self.parameters.slot(name));
        Ok(Learned {
            // What does not learn may be a part of a tensor, and is copied.
            value: match slot {
                Some(_) => self.chip.share(tensor)?,
                None => self.chip.upload(Numbers::Floats(tensor.flatten_all()?.to_vec1()?))?,
            },
            gradient: slot.map(|slot| self.gradients[slot].clone()),
            count: tensor.elem_count(),
        })
    }
}

impl<C: Chip> Network<C> {
    /// Over these parameters, which it shares.
    ///
    /// # Errors
    /// A parameter that is missing or has another shape than the configuration says; failures of the
    /// device.
    pub fn new(chip: C, config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        parameters.check(config)?;
        let gradients: Vec<Tensor> =
            parameters.variables().map(|(_, parameter)| Ok(parameter.zeros_like()?.detach())).collect::<Result<_>>()?;
        let memories: Vec<_> =
            gradients.iter().map(|gradient| Ok(Arc::new(chip.share(gradient)?))).collect::<Result<_>>()?;
        let stored = Stored { chip: &chip, config, parameters, gradients: &memories };
        let layers = (1..=config.num_hidden_layers).map(|number| Layer::new(number, &stored));
        let (embeddings, layers, head) =
            (Embeddings::new(&stored)?, layers.collect::<Result<_>>()?, Head::new(&stored)?);
        Ok(Self {
            chip,
            config: config.clone(),
            embeddings,
            layers,
            head,
            trace: None,
            #[cfg(feature = "cuda")]
            gradients,
            memories,
        })
    }

    /// The gradients that [`backward`](Self::backward) writes.
    #[cfg(feature = "cuda")]
    pub fn gradients(&self) -> &[Tensor] {
        &self.gradients
    }

    /// The logits, one row a text.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions;
    /// failures of the device.
    pub fn forward(&mut self, batch: &TokenBatch, dropout: Option<&Dropout>) -> Result<Vec<f32>> {
        let (batch, words) = Batch::new(batch, &self.config)?;
        // One that is too small is gone before the next is made: both might not fit.
        let mut trace = match self.trace.take().filter(|trace| trace.capacity >= batch.tokens) {
            Some(trace) => trace,
            None => self.make_room(batch.tokens)?,
        };
        self.chip.send(&words, &mut trace.input)?;
        (trace.batch, trace.dropout) = (batch, dropout.copied());
        let chip = &self.chip;
        self.layers.iter().try_for_each(|layer| layer.refresh(chip))?;
        self.head.refresh(chip)?;
        let Trace { input, batch, dropout, embeddings, layers, head, scratch, .. } = &mut trace;
        let pass = Pass { input, batch, dropout: dropout.as_ref() };
        self.embeddings.forward(chip, &pass, embeddings)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let (below, above) = layers.split_at_mut(index);
            let x = below.last().map_or(&embeddings.hidden, |below| &below.hidden);
            layer.forward(chip, &pass, x, &mut above[0], scratch)?;
        }
        let hidden = &layers[self.layers.len() - 1].hidden;
        self.head.forward(chip, &pass, hidden, head)?;
        let logits = chip.fetch(&head.logits, pass.batch.texts * self.config.classes.len())?;
        self.trace = Some(trace);
        Ok(logits)
    }

    /// The gradients of the parameters from that of the logits of the last [`forward`](Self::forward);
    /// with `add` they are added to those that are there.
    ///
    /// # Errors
    /// Failures of the device.
    ///
    /// # Panics
    /// Nothing went forward before.
    pub fn backward(&mut self, logit_gradients: Vec<f32>, add: bool) -> Result<()> {
        let trace = self.trace.as_mut().expect("a way back without a way there is a bug");
        let Trace { input, batch, dropout, embeddings, layers, head, scratch, .. } = trace;
        let pass = Pass { input, batch, dropout: dropout.as_ref() };
        let chip = &self.chip;
        self.head.backward(chip, &pass, head, logit_gradients, scratch, add)?;
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let x = if index == 0 { &embeddings.hidden } else { &layers[index - 1].hidden };
            layer.backward(chip, &pass, x, &layers[index], scratch, add)?;
        }
        self.embeddings.backward(chip, &pass, embeddings, scratch, add)
    }

    /// Makes all gradients 0.
    ///
    /// # Errors
    /// Failures of the device.
    #[cfg(feature = "cuda")]
    pub fn clear(&self) -> Result<()> {
        for gradient in &self.gradients {
            let (memory, count) = (self.chip.share(gradient)?, gradient.elem_count());
            self.chip.launch("clear", gpu::threads(count), &[Argument::Memory(&memory), Argument::Count(count)])?;
        }
        Ok(())
    }

    /// Memory for batches of so many tokens, and for larger ones up to twice as many.
    fn make_room(&self, tokens: usize) -> Result<Trace<C::Memory>> {
        let capacity = tokens.next_power_of_two().max(SMALLEST);
        let (chip, config) = (&self.chip, &self.config);
        let (width, inner, heads) = (config.hidden_size, config.intermediate_size, config.num_attention_heads);
        let halves = |columns: usize| chip.zeros(Kind::Halves, capacity * columns);
        let floats = |columns: usize| chip.zeros(Kind::Floats, capacity * columns);
        let widest = inner.max(3 * width);
        let layers = self.layers.iter().map(|layer| layer.make_room(chip, capacity));
        Ok(Trace {
            capacity,
            // Ids and positions; starts and numbers of shares; two plans of rows, starts and tokens.
            input: chip.zeros(Kind::Words, 10 * capacity + 3)?,
            batch: Batch::default(),
            dropout: None,
            embeddings: EmbeddingsTrace {
                normal: Normal { values: halves(width)?, scales: floats(1)? },
                hidden: halves(width)?,
            },
            layers: layers.collect::<Result<_>>()?,
            head: HeadTrace {
                rows: halves(width)?,
                dense: halves(width)?,
                pooled: halves(width)?,
                gradient: halves(width)?,
                logits: floats(config.classes.len())?,
            },
            scratch: Scratch {
                branch: halves(width)?,
                gradient: halves(width)?,
                tokens: halves(width)?,
                inner: halves(inner)?,
                context: halves(width)?,
                projected: halves(3 * width)?,
                query: halves(width)?,
                means: floats(heads)?,
                partial: chip.zeros(Kind::Floats, capacity.div_ceil(COLUMN_ROWS) * 2 * widest)?,
            },
        })
    }
}
