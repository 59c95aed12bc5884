//! The operations as compositions of candle's differentiable ones: what runs on a GPU, and the reference for the fused ones.
//!
//! Only operations with a backward pass may stand here: candle's fused softmax and LayerNorm silently have none.

use std::sync::Arc;

use candle_core::{D, DType, Result, Tensor};

use super::attention::first_scores;
use super::dropout::Mask;
use super::texts::Padded;
use crate::model::Activation;

pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    // The bias as a product with ones: its gradient is then a matrix product too, instead of a slow sum over rows.
    let ones = Tensor::ones((x.dim(0)?, 1), x.dtype(), x.device())?;
    product(x, &weight.t()?)? + product(&ones, &bias.unsqueeze(0)?)?
}

/// The matrix product. Where a device has none for half precision, that of the same numbers in f32, rounded: what a GPU
/// computes too.
fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
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
    }
}

pub(super) fn dropout(x: &Tensor, mask: Mask) -> Result<Tensor> {
    let factors: Vec<f32> = (0..x.elem_count()).map(|element| mask.factor(element)).collect();
    x * Tensor::from_vec(factors, x.shape(), x.device())?.to_dtype(x.dtype())?
}

/// In f32, whatever the branch is in.
pub(super) fn add_norm(
    branch: &Tensor,
    residual: &Tensor,
    affine: &Tensor,
    epsilon: f64,
    mask: Option<Mask>,
) -> Result<Tensor> {
    let branch = branch.to_dtype(DType::F32)?;
    let branch = match mask {
        Some(mask) => dropout(&branch, mask)?,
        None => branch,
    };
    let x = (branch + residual)?;
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
    x.broadcast_div(&deviation)?.broadcast_mul(&affine.get(0)?)?.broadcast_add(&affine.get(1)?)
}

pub(super) fn lookup(table: &Tensor, rows: &Arc<[u32]>) -> Result<Tensor> {
    table.index_select(&Tensor::new(&**rows, table.device())?, 0)
}

pub(super) fn lookup_positions(positions: &Tensor, types: &Tensor, rows: &Arc<[u32]>) -> Result<Tensor> {
    lookup(positions, rows)?.broadcast_add(&types.get(0)?)
}

/// The softmax in f32, whatever the operands are in.
pub(super) fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    padded: &Padded,
    starts: &[usize],
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
    let scores = scores.broadcast_add(&padded.penalty)?;
    let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let probabilities = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
    let probabilities = match mask {
        Some(mask) => {
            (&probabilities * padded_factors(mask, padded, starts, heads)?.to_device(probabilities.device())?)?
        }
        None => probabilities,
    };
    let context = product(&probabilities.to_dtype(value.dtype())?, &value)?.transpose(1, 2)?.contiguous()?;
    context.reshape((padded.texts * padded.longest, width))?.index_select(&padded.to_packed, 0)
}

/// The mean of each text's rows, each weighted by the softmax of its score; without scores all count the same.
fn weighted_mean(rows: &Tensor, padded: &Padded, scores: Option<Tensor>) -> Result<Tensor> {
    let (texts, longest, width) = (padded.texts, padded.longest, rows.dim(1)?);
    let penalty = padded.penalty.reshape((texts, longest))?;
    let scores = match scores {
        Some(scores) => (scores.index_select(&padded.from_packed, 0)?.reshape((texts, longest))? + penalty)?,
        None => penalty,
    };
    let powers = scores.broadcast_sub(&scores.max_keepdim(1)?.detach())?.exp()?;
    let shares = powers.broadcast_div(&powers.sum_keepdim(1)?)?.reshape((texts, 1, longest))?;
    let rows = rows.index_select(&padded.from_packed, 0)?.reshape((texts, longest, width))?;
    shares.matmul(&rows)?.reshape((texts, width))
}

pub(super) fn mean_pool(rows: &Tensor, padded: &Padded) -> Result<Tensor> {
    weighted_mean(rows, padded, None)
}

pub(super) fn attention_pool(rows: &Tensor, query: &Tensor, padded: &Padded) -> Result<Tensor> {
    weighted_mean(rows, padded, Some(rows.matmul(&query.t()?)?))
}

pub(super) fn max_pool(rows: &Tensor, padded: &Padded) -> Result<Tensor> {
    let (texts, longest, width) = (padded.texts, padded.longest, rows.dim(1)?);
    let rows = rows.index_select(&padded.from_packed, 0)?.reshape((texts, longest, width))?;
    rows.broadcast_add(&padded.penalty.reshape((texts, longest, 1))?)?.max(1)
}

/// The factors of the attention probabilities, numbered as the packed form numbers them, in the padded form.
fn padded_factors(mask: Mask, padded: &Padded, starts: &[usize], heads: usize) -> Result<Tensor> {
    let longest = padded.longest;
    let mut factors = vec![0.0; padded.texts * heads * longest * longest];
    let texts = starts.windows(2).zip(first_scores(starts, heads));
    for (text, (pair, first)) in texts.enumerate() {
        let length = pair[1] - pair[0];
        for head in 0..heads {
            for from in 0..length {
                for to in 0..length {
                    let place = ((text * heads + head) * longest + from) * longest + to;
                    factors[place] = mask.factor(first + (head * length + from) * length + to);
                }
            }
        }
    }
    Tensor::from_vec(factors, (padded.texts, heads, longest, longest), &candle_core::Device::Cpu)
}
