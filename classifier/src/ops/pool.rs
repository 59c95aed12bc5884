use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::composed;
use super::texts::Texts;
use super::values::{read, tensor, values};
use crate::kernels::{exp, sum_of};

/// The mean of each text's rows: (tokens, width) to (texts, width).
pub(crate) fn mean_pool(rows: &Tensor, texts: &Texts) -> Result<Tensor> {
    match &texts.padded {
        Some(padded) => composed::mean_pool(rows, padded),
        None => rows.contiguous()?.apply_op1(Mean(texts.starts.clone())),
    }
}

/// The greatest value of each column in each text's rows: (tokens, width) to (texts, width).
pub(crate) fn max_pool(rows: &Tensor, texts: &Texts) -> Result<Tensor> {
    match &texts.padded {
        Some(padded) => composed::max_pool(rows, padded),
        None => rows.contiguous()?.apply_op1(Max(texts.starts.clone())),
    }
}

/// The mean of each text's rows, weighted by the softmax of their products with `query` (1, width).
pub(crate) fn attention_pool(rows: &Tensor, query: &Tensor, texts: &Texts) -> Result<Tensor> {
    match &texts.padded {
        Some(padded) => composed::attention_pool(rows, query, padded),
        None => rows.contiguous()?.apply_op2(&query.contiguous()?, Attend(texts.starts.clone())),
    }
}

/// The rows of each text, as ranges of values.
fn ranges(starts: &[usize], width: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    starts.windows(2).map(move |pair| pair[0] * width..pair[1] * width)
}

struct Mean(Arc<[usize]>);

impl CustomOp1 for Mean {
    fn name(&self) -> &'static str {
        "mean-pool"
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let rows = values(rows, layout)?;
        let mut pooled = Vec::with_capacity((self.0.len() - 1) * width);
        for range in ranges(&self.0, width) {
            let share = width as f32 / range.len() as f32;
            let mut mean = vec![0.0; width];
            for row in rows[range].chunks_exact(width) {
                mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += share * value);
            }
            pooled.extend(mean);
        }
        Ok((CpuStorage::F32(pooled), (self.0.len() - 1, width).into()))
    }

    fn bwd(&self, rows: &Tensor, _pooled: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let width = rows.dim(1)?;
        let gradient = gradient.contiguous()?;
        let gradient = read(&gradient)?;
        let mut rows_gradient = Vec::with_capacity(rows.elem_count());
        for (range, gradient) in ranges(&self.0, width).zip(gradient.chunks_exact(width)) {
            let share = width as f32 / range.len() as f32;
            for _ in 0..range.len() / width {
                rows_gradient.extend(gradient.iter().map(|value| share * value));
            }
        }
        Ok(Some(tensor(rows_gradient, rows.shape())?))
    }
}

struct Max(Arc<[usize]>);

impl CustomOp1 for Max {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let rows = values(rows, layout)?;
        let pooled: Vec<f32> = greatest(rows, &self.0, width).map(|place| rows[place]).collect();
        Ok((CpuStorage::F32(pooled), (self.0.len() - 1, width).into()))
    }

    fn bwd(&self, rows: &Tensor, _pooled: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let mut rows_gradient = vec![0.0; rows.elem_count()];
        for (place, gradient) in greatest(&read(rows)?, &self.0, rows.dim(1)?).zip(read(&gradient)?.iter()) {
            rows_gradient[place] = *gradient;
        }
        Ok(Some(tensor(rows_gradient, rows.shape())?))
    }
}

/// Where the greatest value of each column of each text stands; the first of equals, and a NaN before any number.
fn greatest<'a>(rows: &'a [f32], starts: &'a [usize], width: usize) -> impl Iterator<Item = usize> + 'a {
    ranges(starts, width).flat_map(move |range| {
        let first = range.start;
        (first..first + width).map(move |column| {
            let places = (column..range.end).step_by(width);
            places
                .fold(column, |best, place| if rows[place] > rows[best] || rows[place].is_nan() { place } else { best })
        })
    })
}

struct Attend(Arc<[usize]>);

/// The softmax of the products of some rows with the query.
fn shares(rows: &[f32], query: &[f32]) -> Vec<f32> {
    let width = query.len();
    let scores = rows.chunks_exact(width).map(|row| sum_of(width, |i| row[i] * query[i]));
    let scores: Vec<f32> = scores.collect();
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| exp(score - greatest)).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

impl CustomOp2 for Attend {
    fn name(&self) -> &'static str {
        "attention-pool"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        layout: &Layout,
        query: &CpuStorage,
        query_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let (rows, query) = (values(rows, layout)?, values(query, query_layout)?);
        let mut pooled = Vec::with_capacity((self.0.len() - 1) * width);
        for range in ranges(&self.0, width) {
            let rows = &rows[range];
            let mut mean = vec![0.0; width];
            for (row, share) in rows.chunks_exact(width).zip(shares(rows, query)) {
                mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += share * value);
            }
            pooled.extend(mean);
        }
        Ok((CpuStorage::F32(pooled), (self.0.len() - 1, width).into()))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        query: &Tensor,
        _pooled: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = rows.dim(1)?;
        let gradient = gradient.contiguous()?;
        let (all, weights, gradient) = (read(rows)?, read(query)?, read(&gradient)?);
        let mut rows_gradient = vec![0.0; all.len()];
        let mut query_gradient = vec![0.0; width];
        for (range, gradient) in ranges(&self.0, width).zip(gradient.chunks_exact(width)) {
            let rows = &all[range.clone()];
            let shares = shares(rows, &weights);
            let slopes: Vec<f32> =
                rows.chunks_exact(width).map(|row| sum_of(width, |i| row[i] * gradient[i])).collect();
            let mean: f32 = shares.iter().zip(&slopes).map(|(share, slope)| share * slope).sum();
            let of_rows = rows_gradient[range].chunks_exact_mut(width).zip(rows.chunks_exact(width));
            for ((row_gradient, row), (share, slope)) in of_rows.zip(shares.iter().zip(&slopes)) {
                let of_score = share * (slope - mean);
                for i in 0..width {
                    row_gradient[i] = share * gradient[i] + of_score * weights[i];
                    query_gradient[i] += of_score * row[i];
                }
            }
        }
        Ok((Some(tensor(rows_gradient, rows.shape())?), Some(tensor(query_gradient, query.shape())?)))
    }
}
