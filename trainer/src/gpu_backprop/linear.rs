//! Linear layers, one or several side by side, and the sums of columns that biases learn from.

use candle_core::Result;
use gpu::Argument::{Count, Memory};
use gpu::{Chip, Epilogue, Grid, Kind, Matrix, threads};

use super::{COLUMN_ROWS, Learned, Stored};

/// Columns that one block of the kernel `sum_columns` sums.
const COLUMNS: usize = 64;

/// `x · weightᵀ + bias`, in bf16.
#[derive(Debug)]
pub(super) struct Linear<M> {
    layer: gpu::Linear<M>,
    parts: Vec<Part<M>>,
}

/// The parameters of some of the outputs.
#[derive(Debug)]
struct Part<M> {
    first: usize,
    outputs: usize,
    weight: Learned<M>,
    bias: Learned<M>,
}

impl<M> Linear<M> {
    /// One layer that does what several do side by side.
    pub fn new<C: Chip<Memory = M>>(names: &[String], stored: &Stored<'_, C>) -> Result<Self> {
        let (mut parts, mut first, mut inputs) = (Vec::new(), 0, 0);
        for name in names {
            let outputs;
            (outputs, inputs) = stored.parameters.get(&format!("{name}.weight"))?.dims2()?;
            let [weight, bias] = ["weight", "bias"].map(|part| stored.learned(&format!("{name}.{part}")));
            parts.push(Part { first, outputs, weight: weight?, bias: bias? });
            first += outputs;
        }
        let zeros = |count: usize| stored.chip.zeros(Kind::Halves, count);
        let layer = gpu::Linear { weight: zeros(first * inputs)?, bias: zeros(first)?, inputs, outputs: first };
        Ok(Self { layer, parts })
    }

    /// Numbers of a row that comes out.
    pub fn outputs(&self) -> usize {
        self.layer.outputs
    }

    /// Takes over what the parameters are now.
    pub fn refresh<C: Chip<Memory = M>>(&self, chip: &C) -> Result<()> {
        let halve = |from: &Learned<M>, to: &M, at: usize| {
            let vectors = from.count / 8;
            chip.launch("halve", threads(vectors), &[Memory(&from.value), Count(vectors), Memory(to), Count(at)])
        };
        for part in &self.parts {
            halve(&part.weight, &self.layer.weight, part.first * self.layer.inputs)?;
            halve(&part.bias, &self.layer.bias, part.first)?;
        }
        Ok(())
    }

    pub fn forward<C: Chip<Memory = M>>(&self, chip: &C, x: &M, rows: usize, y: &mut M) -> Result<()> {
        chip.multiply(x, rows, &self.layer, Epilogue::Nothing, y)
    }

    /// From the gradient of what came out to that of what went in.
    pub fn backward<C: Chip<Memory = M>>(&self, chip: &C, of_y: &M, rows: usize, of_x: &M, add: bool) -> Result<()> {
        let weight = Matrix::new(&self.layer.weight, self.layer.outputs, self.layer.inputs);
        chip.product(Matrix::new(of_y, rows, self.layer.outputs), weight, of_x, add)
    }

    /// The gradients of the parameters.
    pub fn learn<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        x: &M,
        of_y: &M,
        rows: usize,
        partial: &M,
        add: bool,
    ) -> Result<()> {
        for part in &self.parts {
            let own = Matrix::new(of_y, rows, self.layer.outputs).columns(part.first, part.outputs);
            if let Some(gradient) = &part.weight.gradient {
                chip.product(own.transposed(), Matrix::new(x, rows, self.layer.inputs), gradient, add)?;
            }
            if let Some(gradient) = &part.bias.gradient {
                let columns = Columns { memory: of_y, at: part.first, stride: self.layer.outputs, rows };
                columns.sum(chip, None, part.outputs, partial)?;
                columns.finish(chip, 0, part.outputs, partial, gradient, add)?;
            }
        }
        Ok(())
    }
}

/// Columns of a matrix that are summed.
pub(super) struct Columns<'a, M> {
    pub memory: &'a M,
    /// The first.
    pub at: usize,
    pub stride: usize,
    pub rows: usize,
}

impl<M> Columns<'_, M> {
    /// The sums, and with `normal` those of the products with it, in parts.
    pub fn sum<C: Chip<Memory = M>>(&self, chip: &C, normal: Option<&M>, columns: usize, partial: &M) -> Result<()> {
        chip.launch(
            "sum_columns",
            Grid { blocks: (columns.div_ceil(COLUMNS), self.chunks()), threads: COLUMN_ROWS },
            &[
                Memory(self.memory),
                Count(self.at),
                Count(self.stride),
                Memory(normal.unwrap_or(self.memory)),
                Count(normal.is_some().into()),
                Count(self.rows),
                Count(columns),
                Memory(partial),
            ],
        )
    }

    /// The parts together: of the sums (`which` is 0) or of the products (1).
    pub fn finish<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        which: usize,
        columns: usize,
        partial: &M,
        out: &M,
        add: bool,
    ) -> Result<()> {
        chip.launch(
            "finish_columns",
            threads(columns),
            &[Memory(partial), Count(which), Count(self.chunks()), Count(columns), Count(add.into()), Memory(out)],
        )
    }

    fn chunks(&self) -> usize {
        self.rows.div_ceil(COLUMN_ROWS)
    }
}
