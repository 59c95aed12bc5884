use candle_core::{Result, Tensor, bail};

use super::norm::{Norm, NormGradients};
use super::{Gradients, Pass, Trace};
use crate::model::bert::Site;
use crate::model::{ModelConfig, Parameters};
use crate::ops::{self, Branch, Mask, Normal, Rows, read};

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
        let (words, longest) = (self.words.dim(0)?, self.positions.dim(0)?);
        if let Some(id) = pass.batch.ids().iter().find(|id| **id as usize >= words) {
            bail!("row {id} of a table with {words} rows");
        }
        if let Some(text) = pass.batch.ranges().find(|text| text.len() > longest) {
            bail!("a text of {} tokens is too long for a model with {longest} positions", text.len());
        }
        let EmbeddingsTrace { normal, places, .. } = trace;
        let size = pass.batch.tokens() * self.width;
        normal.values.resize(size, 0.0);
        ops::lookup(&read(&self.words)?, self.width, words_of(pass), &mut normal.values);
        places.resize(size, 0.0);
        ops::lookup(&read(&self.positions)?, self.width, positions_of(pass), places);
        let types = read(&self.types)?;
        for place in places.chunks_exact_mut(self.width) {
            ops::add_to(place, &types[..self.width]);
        }
        self.norm.forward(normal, places, PLAIN, y)?;
        if let Some(mask) = self.mask(pass) {
            ops::drop_out(y, 0, &mask);
        }
        Ok(())
    }

    /// The gradients of the parameters, from what the way back through the layers has left in the traces.
    pub fn backward(&self, traces: &mut [Trace], gradients: &mut Gradients) -> Result<()> {
        let Some([words, positions, types]) = self.slots else { return Ok(()) };
        for trace in traces.iter_mut() {
            let Trace { batch, dropout, gradient, embeddings: EmbeddingsTrace { normal, gradients, .. }, .. } = trace;
            let pass = Pass { batch, dropout: dropout.as_ref(), rows: Rows::Tokens };
            if let Some(mask) = self.mask(pass) {
                ops::drop_out(gradient, 0, &mask);
            }
            self.norm.backward(normal, PLAIN, gradient, gradients)?;
        }
        for Trace { batch, gradient, .. } in traces.iter() {
            let pass = Pass { batch, dropout: None, rows: Rows::Tokens };
            gradients.add_rows(words, self.width, words_of(pass), gradient);
            gradients.add_rows(positions, self.width, positions_of(pass), gradient);
            gradients.add_rows(types, self.width, batch.ids().iter().map(|_| 0), gradient);
        }
        self.norm.learn(traces.iter().map(|trace| &trace.embeddings.gradients), gradients);
        Ok(())
    }

    fn mask(&self, pass: Pass) -> Option<Mask> {
        pass.dropout.and_then(|dropout| dropout.site(0, Site::Output, self.dropout))
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
