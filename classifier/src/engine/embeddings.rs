//! The embeddings, and the LayerNorm over them.

use bert::{ModelConfig, Parameters, TokenBatch};
use candle_core::Result;
use kernels::{Machine, Panels};

use super::layer::Norm;
use super::linear::numbers;

/// The first vector of each token.
#[derive(Debug)]
pub(super) struct Embeddings {
    /// (vocabulary, width)
    words: Vec<f32>,
    /// What a position adds, token type 0 included. (positions, width)
    places: Vec<f32>,
    norm: Norm,
    width: usize,
}

impl Embeddings {
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let table = |name: &str| numbers(&format!("bert.embeddings.{name}.weight"), parameters);
        let (width, mut places, types) =
            (config.hidden_size, table("position_embeddings")?, table("token_type_embeddings")?);
        for place in places.chunks_exact_mut(width) {
            place.iter_mut().zip(&types).for_each(|(place, kind)| *place += kind);
        }
        let norm = Norm::new("bert.embeddings.LayerNorm", config, parameters)?;
        Ok(Self { words: table("word_embeddings")?, places, norm, width })
    }

    /// Errors are a token without a row, and a text longer than there are positions.
    pub fn look_up<M: Machine<L, H>, const L: usize, const H: usize>(
        &self,
        machine: M,
        batch: &TokenBatch,
        hidden: &mut Panels<L>,
    ) -> Result<()> {
        batch.check(self.words.len() / self.width, self.places.len() / self.width)?;
        hidden.reshape(self.width.next_multiple_of(H), batch.tokens());
        let panels = batch.tokens().div_ceil(L);
        if let Some(last) = panels.checked_sub(1) {
            // Some of its lanes may have no token.
            hidden.panel_mut(last).fill([0.0; L]);
        }
        let row = |number: usize| number * self.width..(number + 1) * self.width;
        for range in batch.ranges() {
            for (position, token) in range.enumerate() {
                let word = &self.words[row(batch.ids()[token] as usize)];
                let place = &self.places[row(position)];
                let panel = hidden.panel_mut(token / L);
                for (out, (word, place)) in panel.iter_mut().zip(word.iter().zip(place)) {
                    out[token % L] = word + place;
                }
            }
        }
        self.norm.apply(machine, hidden, 0..panels);
        Ok(())
    }
}
