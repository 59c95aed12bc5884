//! The embeddings, forward and backward.

use anyhow::Result;
use bert::{Mask, ModelConfig, Parameters, Site};
use candle_core::Tensor;

use super::dropout::drop_out;
use super::gradients::Gradients;
use super::norm::{Branch, Norm, NormGradients, Normal};
use super::pass::Pass;
use super::rows::{Rows, add_to, lookup};
use super::tensors::read;

#[derive(Debug)]
pub(super) struct Embeddings {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    /// The places of the gradients of words, positions and types; nothing where they do not learn.
    slots: Option<[usize; 3]>,
    norm: Norm,
    width: usize,
    dropout: f64,
}

/// What the forward pass leaves for the backward pass, and the gradients of the latter.
#[derive(Debug, Default)]
pub(super) struct EmbeddingsTrace {
    normal: Normal,
    places: Vec<f32>,
    gradients: NormGradients,
}

impl Embeddings {
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let names = ["word", "position", "token_type"].map(|name| format!("bert.embeddings.{name}_embeddings.weight"));
        let [words, positions, types] = names.each_ref().map(|name| parameters.get(name).cloned());
        let slots = names.map(|name| parameters.slot(&name));
        Ok(Self {
            words: words?,
            positions: positions?,
            types: types?,
            slots: slots.into_iter().collect::<Option<Vec<_>>>().and_then(|slots| slots.try_into().ok()),
            norm: Norm::new("bert.embeddings.LayerNorm", config, parameters)?,
            width: config.hidden_size,
            dropout: config.hidden_dropout_prob,
        })
    }

    /// Whether there is a parameter to learn.
    pub fn learns(&self) -> bool {
        self.slots.is_some()
    }

    pub fn forward(&self, pass: Pass, trace: &mut EmbeddingsTrace, y: &mut Vec<f32>) -> Result<()> {
        pass.batch.check(self.words.dim(0)?, self.positions.dim(0)?)?;
        let EmbeddingsTrace { normal, places, .. } = trace;
        let size = pass.batch.tokens() * self.width;
        normal.values.resize(size, 0.0);
        lookup(&read(&self.words)?, self.width, words_of(pass), &mut normal.values);
        places.resize(size, 0.0);
        lookup(&read(&self.positions)?, self.width, positions_of(pass), places);
        let types = read(&self.types)?;
        for place in places.chunks_exact_mut(self.width) {
            add_to(place, &types[..self.width]);
        }
        self.norm.forward(normal, places, PLAIN, y)?;
        if let Some(mask) = self.mask(pass) {
            drop_out(y, 0, &mask);
        }
        Ok(())
    }

    /// Turns the gradient of what came out into that of the sum of the embeddings.
    pub fn backward(&self, pass: Pass, trace: &mut EmbeddingsTrace, gradient: &mut [f32]) -> Result<()> {
        if let Some(mask) = self.mask(pass) {
            drop_out(gradient, 0, &mask);
        }
        self.norm.backward(&trace.normal, PLAIN, gradient, &mut trace.gradients)
    }

    /// The gradients of the parameters, from each shard's of the sum of the embeddings.
    pub fn learn<'a>(
        &self,
        shards: impl Iterator<Item = (Pass<'a>, &'a EmbeddingsTrace, &'a [f32])> + Clone,
        gradients: &mut Gradients,
    ) {
        let Some([words, positions, types]) = self.slots else { return };
        for (pass, _, gradient) in shards.clone() {
            gradients.add_rows(words, self.width, words_of(pass), gradient);
            gradients.add_rows(positions, self.width, positions_of(pass), gradient);
            gradients.add_rows(types, self.width, pass.batch.ids().iter().map(|_| 0), gradient);
        }
        self.norm.learn(shards.map(|(_, trace, _)| &trace.gradients), gradients);
    }

    fn mask(&self, pass: Pass) -> Option<Mask> {
        pass.mask(0, Site::Output, self.dropout)
    }
}

/// The sum of the embeddings goes into the norm without dropout, which comes behind it.
const PLAIN: Branch<'static> = Branch { mask: None, rows: Rows::Tokens };

fn words_of(pass: Pass<'_>) -> impl Iterator<Item = usize> {
    pass.batch.ids().iter().map(|id| *id as usize)
}

fn positions_of(pass: Pass<'_>) -> impl Iterator<Item = usize> {
    pass.batch.ranges().flat_map(|text| 0..text.len())
}
