//! Matrices of numbers by tokens, in panels.

use std::ops::{Deref, DerefMut};

/// Vectors of tokens, L tokens a panel: see `lanes.rs`.
#[derive(Debug, Default)]
pub struct Panels<const L: usize> {
    values: Aligned<f32>,
    rows: usize,
}

impl<const L: usize> Panels<L> {
    /// Makes room for `tokens` vectors of `rows` numbers; what they are is left open. Memory is
    /// kept from one time to the next.
    pub fn reshape(&mut self, rows: usize, tokens: usize) {
        self.rows = rows;
        // Tiles may read some rows past the last one.
        self.values.resize((rows * tokens.div_ceil(L) + SPARE_ROWS) * L);
    }

    /// Makes room for as many vectors as another matrix has.
    pub fn reshape_as(&mut self, other: &Self) {
        self.rows = other.rows;
        self.values.resize(other.values.len());
    }

    /// The rows of one panel.
    pub fn panel(&self, panel: usize) -> &[[f32; L]] {
        &self.lines()[panel * self.rows..][..self.rows]
    }

    /// The rows of one panel.
    pub fn panel_mut(&mut self, panel: usize) -> &mut [[f32; L]] {
        let rows = self.rows;
        &mut self.values.as_chunks_mut().0[panel * rows..][..rows]
    }

    /// P panels one after the other.
    pub fn panels<const P: usize>(&self, first: usize) -> [&[[f32; L]]; P] {
        std::array::from_fn(|panel| self.panel(first + panel))
    }

    /// P panels one after the other, from `row` on.
    pub fn panels_mut<const P: usize>(&mut self, first: usize, row: usize) -> [&mut [[f32; L]]; P] {
        let rows = self.rows;
        let mut panels = self.values.as_chunks_mut().0[first * rows..][..P * rows].chunks_exact_mut(rows);
        std::array::from_fn(|_| &mut panels.next().expect("P panels were taken: anything else is a bug")[row..])
    }

    /// All numbers from a row of a panel on.
    pub fn from(&self, panel: usize, row: usize) -> &[f32] {
        &self.values[(panel * self.rows + row) * L..]
    }

    /// The vector of one token.
    pub fn token(&self, token: usize) -> impl Iterator<Item = f32> {
        self.panel(token / L).iter().map(move |row| row[token % L])
    }

    /// Sets the first rows of one token.
    pub fn set_token(&mut self, token: usize, vector: impl Iterator<Item = f32>) {
        for (row, value) in self.panel_mut(token / L).iter_mut().zip(vector) {
            row[token % L] = value;
        }
    }

    fn lines(&self) -> &[[f32; L]] {
        self.values.as_chunks().0
    }
}

/// Rows that a tile may read past the last one: fewer than it is high.
const SPARE_ROWS: usize = 8;

/// Numbers from the start of a cache line on, so that no vector lies across two.
#[derive(Debug, Default)]
pub(super) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
    length: usize,
}

/// Bytes of a cache line.
const LINE: usize = 64;

impl<T: Copy + Default> Aligned<T> {
    pub fn resize(&mut self, length: usize) {
        let spare = LINE / size_of::<T>();
        if self.values.len() < length + spare {
            self.values = vec![T::default(); length + spare];
            self.start = self.values.as_ptr().align_offset(LINE).min(spare);
        }
        self.length = length;
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..][..self.length]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.length]
    }
}
