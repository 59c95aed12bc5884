//! The gradients of all parameters on the CPU.

use std::mem::take;

use bert::Parameters;

use super::rows::add_to;

/// The gradients of all parameters that are variables, on the CPU, in the order of their names:
/// memory that is written anew at each step.
#[derive(Debug)]
pub(crate) struct Gradients {
    values: Vec<Vec<f32>>,
    /// Which have been written since they were cleared; what the others hold counts as 0.
    written: Vec<bool>,
    /// Of each table the rows that may not be 0, where those are known: a batch touches few rows of
    /// a large vocabulary.
    touched: Vec<Option<Vec<usize>>>,
}

impl Gradients {
    /// Nothing yet.
    pub(crate) fn new(parameters: &Parameters) -> Self {
        let values: Vec<_> = parameters.variables().map(|(_, tensor)| vec![0.0; tensor.elem_count()]).collect();
        Self { written: vec![false; values.len()], touched: vec![Some(Vec::new()); values.len()], values }
    }

    /// Forgets what was written; the memory stays.
    pub(crate) fn clear(&mut self) {
        self.written.fill(false);
    }

    /// Adds to the gradient in a place, which is that of its parameter among the variables.
    pub(crate) fn add(&mut self, slot: usize, values: &[f32]) {
        if self.written[slot] {
            add_to(&mut self.values[slot], values);
        } else {
            self.values[slot].copy_from_slice(values);
        }
        self.written[slot] = true;
        self.touched[slot] = None;
    }

    /// Adds to rows of the gradient of a table, any number of times each.
    ///
    /// What is added to a row is summed for itself first, so that the sum over shards does not
    /// depend on who adds them up.
    pub(super) fn add_rows(&mut self, slot: usize, width: usize, rows: impl Iterator<Item = usize>, values: &[f32]) {
        let table = &mut self.values[slot];
        if !self.written[slot] {
            match &mut self.touched[slot] {
                Some(touched) => touched.drain(..).for_each(|row| table[row * width..][..width].fill(0.0)),
                all => {
                    table.fill(0.0);
                    *all = Some(Vec::new());
                }
            }
        }
        let mut places: Vec<(usize, usize)> = rows.enumerate().map(|(place, row)| (row, place)).collect();
        places.sort_unstable();
        let mut sum = vec![0.0; width];
        for places in places.chunk_by(|one, other| one.0 == other.0) {
            let row = places[0].0;
            sum.fill(0.0);
            for (_, place) in places {
                add_to(&mut sum, &values[place * width..][..width]);
            }
            add_to(&mut table[row * width..][..width], &sum);
            if let Some(touched) = &mut self.touched[slot] {
                touched.push(row);
            }
        }
        self.written[slot] = true;
    }

    /// Makes 0 what has not been written.
    pub(crate) fn fill(&mut self) {
        for (values, written) in self.values.iter_mut().zip(&self.written) {
            if !written {
                values.fill(0.0);
            }
        }
        self.written.fill(true);
    }

    /// All gradients.
    pub(crate) fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// All gradients, to be written by others.
    pub(crate) fn values_mut(&mut self) -> &mut [Vec<f32>] {
        self.written.fill(true);
        self.touched.iter_mut().for_each(|touched| *touched = None);
        &mut self.values
    }

    /// The first that has not been written, if any.
    pub(crate) fn missing(&self) -> Option<usize> {
        self.written.iter().position(|written| !written)
    }

    /// A gradient's memory, and whether what is in it shall be added to; for as long as others
    /// write to it.
    pub(super) fn lend(&mut self, slot: usize) -> (Vec<f32>, bool) {
        (take(&mut self.values[slot]), self.written[slot])
    }

    pub(super) fn give_back(&mut self, slot: usize, values: Vec<f32>) {
        self.values[slot] = values;
        self.written[slot] = true;
        self.touched[slot] = None;
    }
}
