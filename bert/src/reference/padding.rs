//! Where the texts of a packed batch lie once they are padded to the same length, as attention and
//! pooling want them.

use candle_core::{Device, Result, Tensor};

use crate::TokenBatch;

/// The padded form of a packed batch, on the device of the model: (texts, longest).
pub(super) struct Padded {
    pub texts: usize,
    pub longest: usize,
    /// For each padded place the packed row that stands there; row 0 where there is none. (texts ·
    /// longest)
    pub from_packed: Tensor,
    /// For each packed row its padded place. (tokens)
    pub to_packed: Tensor,
    /// 0 where there is a token and -10,000 where there is none: finite also in half precision.
    /// (texts, 1, 1, longest)
    pub penalty: Tensor,
}

impl Padded {
    pub fn new(batch: &TokenBatch, device: &Device) -> Result<Self> {
        let (texts, tokens) = (batch.texts(), batch.tokens());
        let longest = batch.ranges().map(|range| range.len()).max().unwrap_or(0);
        let mut from_packed = vec![0_u32; texts * longest];
        let mut to_packed = Vec::with_capacity(tokens);
        let mut penalty = vec![-1e4_f32; texts * longest];
        for (text, range) in batch.ranges().enumerate() {
            for (position, token) in range.enumerate() {
                let place = text * longest + position;
                from_packed[place] = token as u32;
                to_packed.push(place as u32);
                penalty[place] = 0.0;
            }
        }
        Ok(Self {
            texts,
            longest,
            from_packed: Tensor::from_vec(from_packed, texts * longest, device)?,
            to_packed: Tensor::from_vec(to_packed, tokens, device)?,
            penalty: Tensor::from_vec(penalty, (texts, 1, 1, longest), device)?,
        })
    }
}
