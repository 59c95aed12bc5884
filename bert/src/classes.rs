//! The names that a model can say.

use std::sync::Arc;

/// The class names of a model, in the order of its scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Arc<[String]>);

impl Classes {
    /// Classes with these names, in this order.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// `LABEL_0`, `LABEL_1`, ...: what transformers calls classes without names.
    pub fn unnamed(count: usize) -> Self {
        Self::new((0..count).map(|index| format!("LABEL_{index}")))
    }

    /// How many classes there are.
    #[expect(clippy::len_without_is_empty, reason = "a model has at least one class")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of class `index`.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn name(&self, index: usize) -> &str {
        &self.0[index]
    }

    /// The class with this name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known == name)
    }

    /// All names, in order.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether these are the names that transformers gives to classes without names.
    pub fn are_unnamed(&self) -> bool {
        *self == Self::unnamed(self.len())
    }
}
