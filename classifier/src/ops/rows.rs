/// The tokens of a packed batch that a matrix has rows for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows<'a> {
    /// All of them.
    Tokens,
    /// The first of each text, where the texts start (cumulative, with the end of the last).
    First(&'a [usize]),
}

impl Rows<'_> {
    /// The token that a row is of.
    #[inline(always)]
    pub fn token(self, row: usize) -> usize {
        match self {
            Self::Tokens => row,
            Self::First(starts) => starts[row],
        }
    }
}
