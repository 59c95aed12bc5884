//! The whole network, packed for a kind of machine.

use std::fmt::Debug;
use std::sync::Mutex;

use bert::{ModelConfig, Parameters, Pooling, TokenBatch};
use candle_core::Result;
use kernels::{Machine, Outcome, Span, Weights};

use super::arena::Arena;
use super::embeddings::Embeddings;
use super::layer::Layer;
use super::linear::Stored;
use super::norm::Norm;
use super::pooling::Pooler;
use super::team;
use crate::precision::Precision;

/// What an engine does, whatever the kind of machine it was made for.
pub(super) trait Forward: Debug + Send + Sync {
    /// See [`Engine::forward`](super::Engine::forward).
    fn forward(&self, batch: &TokenBatch, workers: usize) -> Result<Vec<Vec<f32>>>;
}

/// The whole network, packed for a kind of machine.
#[derive(Debug)]
pub(super) struct PackedBert<M, const L: usize, const H: usize> {
    machine: M,
    embeddings: Embeddings<H>,
    /// Rows of a hidden vector, those that fill up a tile included.
    rows: usize,
    layers: Vec<Layer<H>>,
    /// Which of these a text passes, in order.
    order: Vec<usize>,
    /// Behind the last layer, where the layers normalise first.
    norm: Option<Norm>,
    pooler: Pooler<H>,
    classifier: Weights<H>,
    classes: usize,
    /// Those that no worker is using: as many as have ever worked at once.
    arenas: Mutex<Vec<Arena<L>>>,
}

impl<M: Machine<L, H>, const L: usize, const H: usize> PackedBert<M, L, H> {
    pub fn new(machine: M, config: &ModelConfig, parameters: &Parameters, precision: Precision) -> Result<Self> {
        parameters.check(config)?;
        // Each once, however often a text passes it.
        let (mut layers, mut order, mut packed) = (Vec::new(), Vec::new(), Vec::new());
        for (number, weights) in config.layers().into_iter().enumerate() {
            let cls_alone = config.pooling == Pooling::Cls && number + 1 == config.num_hidden_layers;
            let known = packed.iter().position(|known| *known == (weights, cls_alone));
            if known.is_none() {
                layers.push(Layer::new::<M, L>(weights, cls_alone, config, parameters, precision)?);
                packed.push((weights, cls_alone));
            }
            order.push(known.unwrap_or(layers.len() - 1));
        }
        let norm = config.norms_first().then(|| Norm::new("bert.encoder.LayerNorm", config, parameters));
        let classifier = Stored::read("classifier", parameters)?;
        Ok(Self {
            machine,
            embeddings: Embeddings::new::<M, L>(config, parameters)?,
            rows: config.hidden_size.next_multiple_of(H),
            layers,
            order,
            norm: norm.transpose()?,
            pooler: Pooler::new(config, parameters)?,
            classes: classifier.bias.len(),
            classifier: Weights::new(&classifier.weight, &classifier.bias),
            arenas: Mutex::default(),
        })
    }

    fn run(&self, batch: &TokenBatch, arena: &mut Arena<L>) -> Result<Vec<Vec<f32>>> {
        self.embeddings.look_up(self.machine, batch, arena)?;
        for layer in &self.order {
            self.layers[*layer].forward(self.machine, batch, arena);
        }
        if self.order.is_empty() && self.pooler.reads_cls_alone() {
            arena.keep_first_tokens(batch);
        }
        if let Some(norm) = &self.norm {
            let vectors = if self.pooler.reads_cls_alone() { batch.texts() } else { batch.tokens() };
            norm.apply(self.machine, &mut arena.hidden, 0..vectors.div_ceil(L));
        }
        self.pooler.pool(self.machine, batch, self.rows, arena);
        let Arena { pooled, inner: logits, .. } = arena;
        logits.reshape(self.classifier.rows(), batch.texts());
        self.classifier.multiply(
            self.machine,
            pooled,
            Span::all(batch.texts().div_ceil(L)),
            Outcome::default(),
            logits,
        );
        Ok((0..batch.texts()).map(|text| logits.token(text).take(self.classes).collect()).collect())
    }
}

impl<M: Machine<L, H>, const L: usize, const H: usize> Forward for PackedBert<M, L, H> {
    fn forward(&self, batch: &TokenBatch, workers: usize) -> Result<Vec<Vec<f32>>> {
        if batch.texts() == 0 {
            return Ok(Vec::new());
        }
        // Held for no longer than it takes to move a pointer; a worker that panicked took its arena
        // along.
        let arenas = || self.arenas.lock().expect("nobody panics while holding the arenas: anything else is a bug");
        team::work(workers, |member| {
            let mut arena = arenas().pop().unwrap_or_default();
            arena.worker.member = member;
            let logits = self.run(batch, &mut arena);
            arenas().push(arena);
            logits
        })
    }
}
