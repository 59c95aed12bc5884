//! The embeddings, forward and backward.

use anyhow::Result;
use bert::{Mask, ModelConfig, Parameters, Site};
use candle_core::Tensor;

use super::dropout::drop_out;
use super::gradients::Gradients;
use super::linear::{Lesson, Linear, learn};
use super::norm::{Norm, NormGradients, Normal, PLAIN};
use super::pass::Pass;
use super::rows::{add_to, lookup};
use super::tensors::read;

#[derive(Debug)]
pub(super) struct Embeddings {
    config: ModelConfig,
    words: Table,
    positions: Table,
    /// Of each of these every token gets row 0.
    constant: Vec<Table>,
    /// Where the layers normalise behind each part.
    norm: Option<Norm>,
    /// To the width of the layers.
    projection: Option<Linear>,
    width: usize,
    dropout: f64,
}

#[derive(Debug)]
struct Table {
    rows: Tensor,
    /// The place of its gradient; nothing where it does not learn.
    slot: Option<usize>,
}

/// What the forward pass leaves for the backward pass, and the gradients of the latter.
#[derive(Debug, Default)]
pub(super) struct EmbeddingsTrace {
    normal: Normal,
    places: Vec<f32>,
    gradients: NormGradients,
    /// What is projected, and the gradient of what comes of it.
    narrow: Vec<f32>,
    projected_gradient: Vec<f32>,
}

impl Embeddings {
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let table = |name: &str| -> Result<Table> {
            let name = format!("bert.embeddings.{name}_embeddings.weight");
            Ok(Table { rows: parameters.get(&name)?.clone(), slot: parameters.slot(&name) })
        };
        let norm = (!config.norms_first()).then(|| Norm::new("bert.embeddings.LayerNorm", config, parameters));
        let projection = config.projects_embeddings().then(|| Linear::new("bert.embeddings.projection", parameters));
        Ok(Self {
            config: config.clone(),
            words: table("word")?,
            positions: table("position")?,
            constant: config.constant_embeddings().map(table).collect::<Result<_>>()?,
            norm: norm.transpose()?,
            projection: projection.transpose()?,
            width: config.embedding_width(),
            dropout: config.hidden_dropout_prob,
        })
    }

    /// Whether there is a parameter to learn.
    pub fn learns(&self) -> bool {
        self.words.slot.is_some()
    }

    pub fn forward(&self, pass: Pass, trace: &mut EmbeddingsTrace, y: &mut Vec<f32>) -> Result<()> {
        let positions = self.config.positions_of(pass.batch)?;
        let EmbeddingsTrace { normal, places, narrow, .. } = trace;
        let size = pass.batch.tokens() * self.width;
        normal.values.resize(size, 0.0);
        lookup(&read(&self.words.rows)?, self.width, words_of(pass), &mut normal.values);
        places.resize(size, 0.0);
        lookup(&read(&self.positions.rows)?, self.width, positions.into_iter(), places);
        for table in &self.constant {
            let rows = read(&table.rows)?;
            for place in places.chunks_exact_mut(self.width) {
                add_to(place, &rows[..self.width]);
            }
        }
        let Some(projection) = &self.projection else { return self.normalise(pass, normal, places, y) };
        self.normalise(pass, normal, places, narrow)?;
        projection.forward(narrow, y)
    }

    /// The LayerNorm of the sum, and dropout.
    fn normalise(&self, pass: Pass, normal: &mut Normal, places: &[f32], embedded: &mut Vec<f32>) -> Result<()> {
        match &self.norm {
            Some(norm) => norm.forward(normal, places, PLAIN, embedded)?,
            None => {
                embedded.clear();
                embedded.extend_from_slice(places);
                add_to(embedded, &normal.values);
            }
        }
        if let Some(mask) = self.mask(pass) {
            drop_out(embedded, 0, &mask);
        }
        Ok(())
    }

    /// Turns the gradient of what came out into that of the sum of the embeddings.
    pub fn backward(&self, pass: Pass, trace: &mut EmbeddingsTrace, gradient: &mut Vec<f32>) -> Result<()> {
        if let Some(projection) = &self.projection {
            std::mem::swap(gradient, &mut trace.projected_gradient);
            projection.backward(&trace.projected_gradient, gradient, false)?;
        }
        if let Some(mask) = self.mask(pass) {
            drop_out(gradient, 0, &mask);
        }
        match &self.norm {
            Some(norm) => norm.backward(&trace.normal, PLAIN, gradient, &mut trace.gradients),
            None => Ok(()),
        }
    }

    /// The gradients of the parameters, from each shard's of the sum of the embeddings.
    pub fn learn(&self, shards: &[(Pass, &EmbeddingsTrace, &[f32])], gradients: &mut Gradients) -> Result<()> {
        for (pass, _, gradient) in shards {
            let mut add = |table: &Table, rows: &mut dyn Iterator<Item = usize>| {
                if let Some(slot) = table.slot {
                    gradients.add_rows(slot, self.width, rows, gradient);
                }
            };
            add(&self.words, &mut words_of(*pass));
            add(&self.positions, &mut self.config.positions_of(pass.batch)?.into_iter());
            self.constant.iter().for_each(|table| add(table, &mut pass.batch.ids().iter().map(|_| 0)));
        }
        if let Some(norm) = &self.norm {
            norm.learn(shards.iter().map(|(_, trace, _)| &trace.gradients), gradients);
        }
        if let Some(linear) = &self.projection {
            let lesson = shards.iter().map(|(_, trace, _)| (&*trace.projected_gradient, &*trace.narrow));
            learn(&[Lesson { linear, shards: lesson.collect() }], gradients, shards.len())?;
        }
        Ok(())
    }

    fn mask(&self, pass: Pass) -> Option<Mask> {
        pass.mask(0, Site::Output, self.dropout)
    }
}

fn words_of(pass: Pass<'_>) -> impl Iterator<Item = usize> {
    pass.batch.ids().iter().map(|id| *id as usize)
}
