//! Kernels, and how many threads they take.

use std::borrow::Cow;

use crate::Grid;

/// What kernels have in common: put before their own source. It needs the macros `WIDTH` and
/// `HEAD_SIZE`.
pub const COMMON: &str = include_str!("common.cuh");

/// Threads that work together on a row.
pub const WARP: usize = 32;

/// Rows that a block works on.
const ROWS: usize = 8;

/// Heads that a block of attention works on, and queries, as `common.cuh` has them.
const HEADS: usize = 4;
const QUERIES: usize = 16;

/// Kernels as source, compiled where they are to run.
#[derive(Clone, Debug)]
pub struct Kernels {
    /// Of all of them together.
    pub name: &'static str,
    /// The source, in parts.
    pub parts: Vec<Cow<'static, str>>,
    /// The kernels in it.
    pub names: &'static [&'static str],
    /// What the source is compiled with.
    pub macros: Vec<(&'static str, usize)>,
}

impl Kernels {
    /// All parts.
    pub fn source(&self) -> String {
        self.parts.concat()
    }

    /// The same with one piece of the source replaced by another: for tests that break kernels on
    /// purpose.
    ///
    /// # Panics
    /// The piece does not stand there exactly once.
    #[cfg(feature = "emulator")]
    #[must_use]
    pub fn broken(self, piece: &str, by: &str) -> Self {
        let source = self.source();
        assert_eq!(source.matches(piece).count(), 1, "{piece} stands there another number of times");
        Self { parts: vec![source.replace(piece, by).into()], ..self }
    }

    /// A name that no other kernels, and no others of these sizes, have.
    pub fn module(&self) -> String {
        let sizes = self.macros.iter().map(|(_, value)| format!("-{value}"));
        format!("labelstream-{}{}", self.name, sizes.collect::<String>())
    }
}

/// A warp a row.
pub fn rows(count: usize) -> Grid {
    Grid { blocks: (count.div_ceil(ROWS), 1), threads: ROWS * WARP }
}

/// The blocks of the kernel `attention`: a warp a head and sixteen queries of a text, of which the
/// longest has so many.
pub fn attention(texts: usize, heads: usize, longest: usize) -> Grid {
    Grid { blocks: (texts, heads.div_ceil(HEADS) * longest.div_ceil(QUERIES)), threads: HEADS * WARP }
}

/// A thread each.
pub fn threads(count: usize) -> Grid {
    Grid { blocks: (count.div_ceil(ROWS * WARP), 1), threads: ROWS * WARP }
}
