use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::composed;
use super::texts::Texts;
use super::values::{read, tensor, values};

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
        let mut found = Vec::with_capacity(self.rows.len() * width);
        for row in &*self.rows {
            found.extend_from_slice(&table[*row as usize * width..][..width]);
        }
        Ok((CpuStorage::F32(found), (self.rows.len(), width).into()))
    }

    fn bwd(&self, table: &Tensor, _found: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let mut table_gradient = vec![0.0; table.elem_count()];
        add_rows(&mut table_gradient, &self.rows, &read(&gradient)?, table.dim(1)?);
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
        add_rows(&mut positions_gradient, &self.rows, &gradient, width);
        let mut types_gradient = vec![0.0; types.elem_count()];
        let every_token_is_of_type_0 = vec![0; self.rows.len()];
        add_rows(&mut types_gradient, &every_token_is_of_type_0, &gradient, width);
        Ok((Some(tensor(positions_gradient, positions.shape())?), Some(tensor(types_gradient, types.shape())?)))
    }
}

fn add_rows(table: &mut [f32], rows: &[u32], gradient: &[f32], width: usize) {
    for (row, gradient) in rows.iter().zip(gradient.chunks_exact(width)) {
        let sums = &mut table[*row as usize * width..][..width];
        for (sum, value) in sums.iter_mut().zip(gradient) {
            *sum += value;
        }
    }
}
