//! The embeddings, the LayerNorm over them, and their way to the width of the layers.

use bert::{ModelConfig, Parameters, TokenBatch};
use candle_core::{Error, Result};
use kernels::{Machine, Outcome, Panels, Span};

use super::arena::Arena;
use super::linear::{Linear, Stored, numbers};
use super::norm::Norm;
use crate::precision::Precision;

/// The first vector of each token.
#[derive(Debug)]
pub(super) struct Embeddings<const H: usize> {
    config: ModelConfig,
    /// (vocabulary, width)
    words: Vec<f32>,
    /// What a position adds, token type 0 and task 0 included. (positions, width)
    places: Vec<f32>,
    norm: Option<Norm>,
    projection: Option<Linear<H>>,
    width: usize,
}

impl<const H: usize> Embeddings<H> {
    pub fn new<M: Machine<L, H>, const L: usize>(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let table = |name: &str| numbers(&format!("bert.embeddings.{name}_embeddings.weight"), parameters);
        let (width, mut places) = (config.embedding_width(), table("position")?);
        for name in config.constant_embeddings() {
            let rows = table(name)?;
            for place in places.chunks_exact_mut(width) {
                place.iter_mut().zip(&rows).for_each(|(place, constant)| *place += constant);
            }
        }
        let norm = (!config.norms_first()).then(|| Norm::new("bert.embeddings.LayerNorm", config, parameters));
        let projection = config.projects_embeddings().then(|| {
            let stored = Stored::read("bert.embeddings.projection", parameters)?;
            // It is small, and all that follows rests on it.
            Ok::<_, Error>(Linear::new::<M, L>(&stored, Precision::F32))
        });
        Ok(Self {
            config: config.clone(),
            words: table("word")?,
            places,
            norm: norm.transpose()?,
            projection: projection.transpose()?,
            width,
        })
    }

    /// To `arena.hidden`. Errors are a token without a row, and a text longer than there are
    /// positions.
    pub fn look_up<M: Machine<L, H>, const L: usize>(
        &self,
        machine: M,
        batch: &TokenBatch,
        arena: &mut Arena<L>,
    ) -> Result<()> {
        let Arena { hidden, context: narrow, worker, .. } = arena;
        let Some(projection) = &self.projection else { return self.write(machine, batch, hidden) };
        self.write(machine, batch, narrow)?;
        hidden.reshape(projection.rows(), batch.tokens());
        let all = Span::all(batch.tokens().div_ceil(L));
        projection.multiply(machine, narrow, all, Outcome::default(), worker, hidden);
        Ok(())
    }

    /// What is looked up, normalised.
    fn write<M: Machine<L, H>, const L: usize>(
        &self,
        machine: M,
        batch: &TokenBatch,
        hidden: &mut Panels<L>,
    ) -> Result<()> {
        let positions = self.config.positions_of(batch)?;
        hidden.reshape(self.width.next_multiple_of(H), batch.tokens());
        let panels = batch.tokens().div_ceil(L);
        if let Some(last) = panels.checked_sub(1) {
            // Some of its lanes may have no token.
            hidden.panel_mut(last).fill([0.0; L]);
        }
        let row = |number: usize| number * self.width..(number + 1) * self.width;
        for (token, (id, position)) in batch.ids().iter().zip(positions).enumerate() {
            let word = &self.words[row(*id as usize)];
            let place = &self.places[row(position)];
            let panel = hidden.panel_mut(token / L);
            for (out, (word, place)) in panel.iter_mut().zip(word.iter().zip(place)) {
                out[token % L] = word + place;
            }
        }
        if let Some(norm) = &self.norm {
            norm.apply(machine, hidden, 0..panels);
        }
        Ok(())
    }
}
