//! A batch as the kernels read it.

use bert::{ModelConfig, TokenBatch};
use candle_core::Result;

/// Where the parts of a batch stand among its words: ids, positions, where the texts start, the
/// number of the first attention share of each text, and which tokens have each row of the tables.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    pub tokens: usize,
    pub texts: usize,
    /// Tokens of the longest.
    pub longest: usize,
    pub starts_at: usize,
    pub scores_at: usize,
    pub words: Plan,
    pub positions: Plan,
}

/// The rows of a table that tokens have, and which tokens, as `add_to_rows` reads them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub at: usize,
    pub groups: usize,
}

impl Batch {
    /// The batch, and its words.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions.
    pub fn new(batch: &TokenBatch, config: &ModelConfig) -> Result<(Self, Vec<u32>)> {
        let positions: Vec<u32> = config.positions_of(batch)?.into_iter().map(|position| position as u32).collect();
        let mut words = [&**batch.ids(), &positions].concat();
        let starts_at = words.len();
        words.extend(batch.starts().iter().map(|start| *start as u32));
        let scores_at = words.len();
        let mut score = 0_u32;
        for text in batch.ranges() {
            words.push(score);
            // Masks repeat after as many.
            score = score.wrapping_add((config.num_attention_heads * text.len().pow(2)) as u32);
        }
        let of_words = Plan::new(batch.ids(), &mut words);
        let of_positions = Plan::new(&positions, &mut words);
        let (tokens, texts) = (batch.tokens(), batch.texts());
        let longest = batch.ranges().map(|text| text.len()).max().unwrap_or(0);
        Ok((Self { tokens, texts, longest, starts_at, scores_at, words: of_words, positions: of_positions }, words))
    }
}

impl Plan {
    fn new(rows: &[u32], words: &mut Vec<u32>) -> Self {
        let at = words.len();
        let mut tokens: Vec<(u32, u32)> = rows.iter().copied().zip(0..).collect();
        // Each row's tokens in order, so that their sum is the same each time.
        tokens.sort_unstable();
        let groups: Vec<&[(u32, u32)]> = tokens.chunk_by(|one, other| one.0 == other.0).collect();
        words.extend(groups.iter().map(|group| group[0].0));
        let mut start = 0;
        words.push(start);
        for group in &groups {
            start += group.len() as u32;
            words.push(start);
        }
        words.extend(tokens.iter().map(|(_, token)| *token));
        Self { at, groups: groups.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_each_row_once_with_its_tokens_in_order() {
        let mut words = vec![9];
        let plan = Plan::new(&[7, 2, 7, 0, 7], &mut words);
        assert_eq!((plan.at, plan.groups), (1, 3));
        assert_eq!(words, [9, 0, 2, 7, 0, 1, 2, 5, 3, 1, 0, 2, 4]);
    }
}
