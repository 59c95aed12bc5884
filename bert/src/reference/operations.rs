//! What a BERT is made of, composed of candle's differentiable operations.
//!
//! Only operations with a backward pass may stand here: candle's fused softmax and LayerNorm
//! silently have none.

use candle_core::{D, DType, Device, Result, Tensor};

use super::padding::Padded;
use crate::{Activation, Mask, TokenBatch};

/// `x · weightᵀ + bias` for `x` (rows, in), `weight` (out, in) as PyTorch stores it, and `bias`
/// (out).
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    // The bias as a product with ones: its gradient is then a matrix product too, instead of a slow
    // sum over rows.
    let ones = Tensor::ones((x.dim(0)?, 1), x.dtype(), x.device())?;
    product(x, &weight.t()?)? + product(&ones, &bias.unsqueeze(0)?)?
}

/// The matrix product.
fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    // candle's CPU has no product of bf16: in tests it stands in for a GPU, which computes the same
    // numbers in f32 and rounds.
    #[cfg(test)]
    if left.device().is_cpu() && left.dtype() == DType::BF16 {
        return left.to_dtype(DType::F32)?.matmul(&right.to_dtype(DType::F32)?)?.to_dtype(DType::BF16);
    }
    left.matmul(right)
}

pub(super) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluNew => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Tanh => x.tanh(),
    }
}

pub(super) fn dropout(x: Tensor, mask: Option<Mask>) -> Result<Tensor> {
    let Some(mask) = mask else { return Ok(x) };
    let factors: Vec<f32> = (0..x.elem_count()).map(|element| mask.factor(element)).collect();
    let factors = Tensor::from_vec(factors, x.shape(), x.device())?.to_dtype(x.dtype())?;
    x * factors
}

/// LayerNorm over the last dimension.
pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
    x.broadcast_div(&deviation)?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Rows of a table, any number of times each.
pub(super) fn lookup(table: &Tensor, rows: impl IntoIterator<Item = u32>) -> Result<Tensor> {
    let rows: Vec<u32> = rows.into_iter().collect();
    table.index_select(&Tensor::new(rows, table.device())?, 0)
}

/// `dropout(softmax(query · keyᵀ / √d)) · value` for each head of each text; operands and result
/// are (tokens, heads · d). The softmax is f32, whatever the operands are.
pub(super) fn attention(
    [query, key, value]: [&Tensor; 3],
    (batch, padded): (&TokenBatch, &Padded),
    heads: usize,
    mask: Option<Mask>,
) -> Result<Tensor> {
    let width = query.dim(1)?;
    let size = width / heads;
    let by_head = |packed: &Tensor| {
        let rows = packed.index_select(&padded.from_packed, 0)?;
        rows.reshape((padded.texts, padded.longest, heads, size))?.transpose(1, 2)?.contiguous()
    };
    let (query, key, value) = (by_head(query)?, by_head(key)?, by_head(value)?);
    let scores = product(&query, &key.t()?.contiguous()?)?.to_dtype(DType::F32)?;
    let scores = (scores * (1.0 / (size as f64).sqrt()))?;
    let probabilities = softmax(&scores.broadcast_add(&padded.penalty)?)?;
    let probabilities = match mask {
        Some(mask) => (&probabilities * attention_factors(mask, batch, padded, heads, probabilities.device())?)?,
        None => probabilities,
    };
    let context = product(&probabilities.to_dtype(value.dtype())?, &value)?.transpose(1, 2)?.contiguous()?;
    context.reshape((padded.texts * padded.longest, width))?.index_select(&padded.to_packed, 0)
}

/// The softmax over the last dimension.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}

/// The mean of each text's rows: (tokens, width) to (texts, width).
pub(super) fn mean_pool(rows: &Tensor, padded: &Padded) -> Result<Tensor> {
    weighted_mean(rows, padded, None)
}

/// The mean of each text's rows, weighted by the softmax of their products with `query` (1, width).
pub(super) fn attention_pool(rows: &Tensor, query: &Tensor, padded: &Padded) -> Result<Tensor> {
    weighted_mean(rows, padded, Some(rows.matmul(&query.t()?)?))
}

/// The mean of each text's rows, each weighted by the softmax of its score; without scores all
/// count the same.
fn weighted_mean(rows: &Tensor, padded: &Padded, scores: Option<Tensor>) -> Result<Tensor> {
    let (texts, longest, width) = (padded.texts, padded.longest, rows.dim(1)?);
    let penalty = padded.penalty.reshape((texts, longest))?;
    let scores = match scores {
        Some(scores) => (scores.index_select(&padded.from_packed, 0)?.reshape((texts, longest))? + penalty)?,
        None => penalty,
    };
    let shares = softmax(&scores)?.reshape((texts, 1, longest))?;
    let rows = rows.index_select(&padded.from_packed, 0)?.reshape((texts, longest, width))?;
    shares.matmul(&rows)?.reshape((texts, width))
}

/// The greatest value of each column in each text's rows: (tokens, width) to (texts, width).
pub(super) fn max_pool(rows: &Tensor, padded: &Padded) -> Result<Tensor> {
    let (texts, longest, width) = (padded.texts, padded.longest, rows.dim(1)?);
    let rows = rows.index_select(&padded.from_packed, 0)?.reshape((texts, longest, width))?;
    rows.broadcast_add(&padded.penalty.reshape((texts, longest, 1))?)?.max(1)
}

/// The mask of attention probabilities, whose numbers count the packed ones, in the padded places.
/// (texts, heads, longest, longest)
fn attention_factors(mask: Mask, batch: &TokenBatch, padded: &Padded, heads: usize, device: &Device) -> Result<Tensor> {
    let longest = padded.longest;
    let mut factors = vec![0.0; padded.texts * heads * longest * longest];
    let mut first = 0;
    for (text, length) in batch.ranges().map(|range| range.len()).enumerate() {
        for head in 0..heads {
            for from in 0..length {
                for to in 0..length {
                    let place = ((text * heads + head) * longest + from) * longest + to;
                    factors[place] = mask.factor(first + (head * length + from) * length + to);
                }
            }
        }
        first += heads * length * length;
    }
    Tensor::from_vec(factors, (padded.texts, heads, longest, longest), device)
}
