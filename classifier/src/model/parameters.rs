use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var};

use super::ModelConfig;

/// The weights of a model by their HuggingFace names (`bert.` prefix included), sorted by name.
#[derive(Clone, Debug)]
pub struct Parameters(BTreeMap<String, Tensor>);

impl Parameters {
    /// Parameters with these names; names and shapes are checked where a model is built from them.
    pub fn new(tensors: BTreeMap<String, Tensor>) -> Self {
        Self(tensors)
    }

    /// The tensor with this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.0
            .get(name)
            .ok_or_else(|| candle_core::Error::Msg(format!("no parameter named {name}")))
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many numbers there are in all tensors together.
    pub fn count(&self) -> usize {
        self.0.values().map(Tensor::elem_count).sum()
    }

    /// The same values as trainable variables: every tensor is the inner tensor of a [`Var`], so gradients can be asked for by
    /// it, and `Var::from_tensor` gives the variable back.
    pub fn trainable(&self) -> Result<Self> {
        self.map(|tensor| Ok(Var::from_tensor(tensor)?.into_inner()))
    }

    /// The same storage without gradient tracking: a model over it keeps no graph.
    pub fn detached(&self) -> Self {
        Self(
            self.0
                .iter()
                .map(|(name, tensor)| (name.clone(), tensor.detach()))
                .collect(),
        )
    }

    /// A copy on its own storage, which later training does not change.
    pub fn snapshot(&self) -> Result<Self> {
        self.map(|tensor| tensor.detach().copy())
    }

    /// The same values on `device`.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        self.map(|tensor| tensor.to_device(device))
    }

    fn map(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let changed = self
            .0
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), change(tensor)?)));
        Ok(Self(changed.collect::<Result<_>>()?))
    }
}

/// A new model: weights normal with the configured deviation, biases 0, LayerNorm 1, all from `seed`, on the CPU.
pub fn initialise(config: &ModelConfig, seed: u64) -> Parameters {
    todo!("{config:?} {seed}")
}
