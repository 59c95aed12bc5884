//! The operations as nodes of candle's graph: on the CPU each is one of the fused ones, elsewhere composed of candle's own.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

use super::attention::{self, Operands};
use super::composed;
use super::dropout::{self, Mask};
use super::linear::{self, OutputRows};
use super::lookup::{self, lookup_backward};
use super::norm::{self, Affine, Branch, Normal};
use super::rows::Rows;
use super::texts::Texts;
use super::values::{read, tensor, values};
use super::{activation, add_norm_backward};
use crate::model::Activation;

/// Whether there is a fused operation for such a tensor.
fn is_fused(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// `x · weightᵀ + bias` for `x` (rows, in), `weight` (out, in) as PyTorch stores it, and `bias` (out).
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !is_fused(x) {
        return composed::linear(x, weight, bias);
    }
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Linear)
}

struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, _) = x_layout.shape().dims2()?;
        let bias = values(bias, bias_layout)?;
        let mut y = vec![0.0; rows * bias.len()];
        linear::linear(values(x, x_layout)?, values(weight, weight_layout)?, bias, &mut y);
        Ok((CpuStorage::F32(y), (rows, bias.len()).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        y_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let outputs = weight.dim(0)?;
        let y_gradient = y_gradient.contiguous()?;
        let y_gradient = read(&y_gradient)?;
        let mut x_gradient = vec![0.0; x.elem_count()];
        linear::linear_backward(&y_gradient, &read(weight)?, outputs, &mut x_gradient, false);
        let (mut weight_gradient, mut bias_gradient) = (vec![0.0; weight.elem_count()], vec![0.0; outputs]);
        let (whole_weight, whole_bias) = (&mut weight_gradient[..], &mut bias_gradient[..]);
        let mut all = OutputRows { rows: 0..outputs, outputs, weight: whole_weight, bias: whole_bias };
        all.backward(&y_gradient, &read(x)?, false);
        Ok((
            Some(tensor(x_gradient, x.shape())?),
            Some(tensor(weight_gradient, weight.shape())?),
            Some(tensor(bias_gradient, outputs)?),
        ))
    }
}

/// The activation of every element.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if !is_fused(x) {
        return composed::activate(x, activation);
    }
    x.contiguous()?.apply_op1(Activate(activation))
}

struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let mut y = vec![0.0; x.len()];
        activation::activate(self.0, x, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        let y_gradient = y_gradient.contiguous()?;
        let mut gradient = read(&y_gradient)?.to_vec();
        activation::activate_backward(self.0, &read(x)?, &mut gradient);
        Ok(Some(tensor(gradient, x.shape())?))
    }
}

/// LayerNorm of `residual + dropout(branch)`, both (rows, width).
///
/// `affine` (2, width) is the LayerNorm's weight over its bias: one tensor, because a custom operation has three operands.
pub(crate) fn add_norm(
    branch: &Tensor,
    residual: &Tensor,
    affine: &Tensor,
    epsilon: f64,
    mask: Option<Mask>,
) -> Result<Tensor> {
    if !is_fused(branch) {
        return composed::add_norm(branch, residual, affine, epsilon, mask);
    }
    let operation = AddNorm { epsilon: epsilon as f32, mask };
    branch.contiguous()?.apply_op3(&residual.contiguous()?, &affine.contiguous()?, operation)
}

struct AddNorm {
    epsilon: f32,
    mask: Option<Mask>,
}

impl AddNorm {
    fn forward(&self, branch: &[f32], residual: &[f32], affine: &[f32]) -> (Normal, Vec<f32>) {
        let (weight, bias) = affine.split_at(affine.len() / 2);
        let mut normal = Normal { values: branch.to_vec(), scales: Vec::new() };
        let mut y = vec![0.0; branch.len()];
        norm::add_norm(&mut normal, residual, Affine { weight, bias }, self.epsilon, self.branch(), &mut y);
        (normal, y)
    }

    fn branch(&self) -> Branch<'static> {
        Branch { mask: self.mask, rows: Rows::Tokens }
    }
}

impl CustomOp3 for AddNorm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        branch: &CpuStorage,
        branch_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (branch, residual) = (values(branch, branch_layout)?, values(residual, residual_layout)?);
        let (_, y) = self.forward(branch, residual, values(affine, affine_layout)?);
        Ok((CpuStorage::F32(y), branch_layout.shape().clone()))
    }

    fn bwd(
        &self,
        branch: &Tensor,
        residual: &Tensor,
        affine: &Tensor,
        _y: &Tensor,
        y_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let affine_values = read(affine)?;
        let width = affine_values.len() / 2;
        let (normal, _) = self.forward(&read(branch)?, &read(residual)?, &affine_values);
        let y_gradient = y_gradient.contiguous()?;
        let mut gradient = read(&y_gradient)?.to_vec();
        let mut branch_gradient = vec![0.0; gradient.len()];
        let mut affine_gradient = vec![0.0; affine_values.len()];
        let (weight, bias) = affine_gradient.split_at_mut(width);
        let sums = Affine { weight, bias };
        add_norm_backward(&normal, &affine_values[..width], self.branch(), &mut gradient, &mut branch_gradient, sums);
        Ok((
            Some(tensor(branch_gradient, branch.shape())?),
            Some(tensor(gradient, residual.shape())?),
            Some(tensor(affine_gradient, affine.shape())?),
        ))
    }
}

/// Self-attention inside each text of a packed batch: `dropout(softmax(query · keyᵀ / √d)) · value` for each head.
///
/// All operands are (tokens, heads · d).
pub(crate) fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    texts: &Texts,
    heads: usize,
    mask: Option<Mask>,
) -> Result<Tensor> {
    if let Some(padded) = &texts.padded {
        return composed::attention(query, key, value, padded, &texts.starts, heads, mask);
    }
    let operation = Attention { starts: texts.starts.clone(), heads, mask };
    query.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, operation)
}

struct Attention {
    starts: Arc<[usize]>,
    heads: usize,
    mask: Option<Mask>,
}

impl Attention {
    fn operation(&self) -> attention::Attention<'_> {
        let Self { starts, heads, mask } = self;
        attention::Attention { starts, heads: *heads, mask: *mask, queries: Rows::Tokens }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        query_layout: &Layout,
        key: &CpuStorage,
        key_layout: &Layout,
        value: &CpuStorage,
        value_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = query_layout.shape().dims2()?;
        let query = values(query, query_layout)?;
        let mut context = vec![0.0; query.len()];
        let operands = Operands { query, key: values(key, key_layout)?, value: values(value, value_layout)? };
        self.operation().forward(operands, width, &mut context);
        Ok((CpuStorage::F32(context), query_layout.shape().clone()))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _context: &Tensor,
        context_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = query.shape();
        let context_gradient = context_gradient.contiguous()?;
        let (query, key, value) = (read(query)?, read(key)?, read(value)?);
        let [mut of_query, mut of_key, mut of_value] = std::array::from_fn(|_| vec![0.0; query.len()]);
        self.operation().backward(
            Operands { query: &query, key: &key, value: &value },
            shape.dims2()?.1,
            &read(&context_gradient)?,
            Operands { query: &mut of_query, key: &mut of_key, value: &mut of_value },
        );
        Ok((Some(tensor(of_query, shape)?), Some(tensor(of_key, shape)?), Some(tensor(of_value, shape)?)))
    }
}

/// Multiplies each element with its factor; without a mask, `x` itself.
pub(crate) fn dropout(x: &Tensor, mask: Option<Mask>) -> Result<Tensor> {
    match mask {
        None => Ok(x.clone()),
        Some(mask) if is_fused(x) => x.contiguous()?.apply_op1(Dropout(mask)),
        Some(mask) => composed::dropout(x, mask),
    }
}

struct Dropout(Mask);

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = values(x, layout)?.to_vec();
        dropout::drop_out(&mut y, 0, &self.0);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        let y_gradient = y_gradient.contiguous()?;
        let mut gradient = read(&y_gradient)?.to_vec();
        dropout::drop_out(&mut gradient, 0, &self.0);
        Ok(Some(tensor(gradient, y_gradient.shape())?))
    }
}

/// Rows of `table` (rows, width), in this order, any number of times each.
pub(crate) fn lookup(table: &Tensor, rows: &Arc<[u32]>) -> Result<Tensor> {
    let count = table.dim(0)?;
    if let Some(row) = rows.iter().find(|row| **row as usize >= count) {
        bail!("row {row} of a table with {count} rows");
    }
    if !table.device().is_cpu() {
        return composed::lookup(table, rows);
    }
    table.contiguous()?.apply_op1(Lookup { rows: rows.clone() })
}

/// For each token the embedding of its position in its text, plus that of token type 0.
pub(crate) fn lookup_positions(positions: &Tensor, types: &Tensor, texts: &Texts) -> Result<Tensor> {
    let rows = texts.positions();
    let (count, longest) = (positions.dim(0)?, rows.iter().max().map_or(0, |last| *last as usize + 1));
    if longest > count {
        bail!("a text of {longest} tokens is too long for a model with {count} positions");
    }
    if !positions.device().is_cpu() {
        return composed::lookup_positions(positions, types, &rows);
    }
    positions.contiguous()?.apply_op2(&types.contiguous()?, LookupPositions { rows })
}

struct Lookup {
    rows: Arc<[u32]>,
}

impl CustomOp1 for Lookup {
    fn name(&self) -> &'static str {
        "lookup"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let table = values(table, layout)?;
        let mut found = vec![0.0; self.rows.len() * width];
        lookup::lookup(table, width, indices(&self.rows), &mut found);
        Ok((CpuStorage::F32(found), (self.rows.len(), width).into()))
    }

    fn bwd(&self, table: &Tensor, _found: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let mut table_gradient = vec![0.0; table.elem_count()];
        lookup_backward(&read(&gradient)?, table.dim(1)?, indices(&self.rows), &mut table_gradient);
        Ok(Some(tensor(table_gradient, table.shape())?))
    }
}

struct LookupPositions {
    rows: Arc<[u32]>,
}

impl CustomOp2 for LookupPositions {
    fn name(&self) -> &'static str {
        "lookup-positions"
    }

    fn cpu_fwd(
        &self,
        positions: &CpuStorage,
        positions_layout: &Layout,
        types: &CpuStorage,
        types_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = positions_layout.shape().dims2()?;
        let positions = values(positions, positions_layout)?;
        let first_type = &values(types, types_layout)?[..width];
        let mut found = Vec::with_capacity(self.rows.len() * width);
        for row in &*self.rows {
            let position = &positions[*row as usize * width..][..width];
            found.extend(position.iter().zip(first_type).map(|(position, kind)| position + kind));
        }
        Ok((CpuStorage::F32(found), (self.rows.len(), width).into()))
    }

    fn bwd(
        &self,
        positions: &Tensor,
        types: &Tensor,
        _found: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = positions.dim(1)?;
        let gradient = gradient.contiguous()?;
        let gradient = read(&gradient)?;
        let mut positions_gradient = vec![0.0; positions.elem_count()];
        lookup_backward(&gradient, width, indices(&self.rows), &mut positions_gradient);
        let mut types_gradient = vec![0.0; types.elem_count()];
        // Every token is of type 0.
        lookup_backward(&gradient, width, self.rows.iter().map(|_| 0), &mut types_gradient);
        Ok((Some(tensor(positions_gradient, positions.shape())?), Some(tensor(types_gradient, types.shape())?)))
    }
}

fn indices(rows: &[u32]) -> impl Iterator<Item = usize> {
    rows.iter().map(|row| *row as usize)
}
