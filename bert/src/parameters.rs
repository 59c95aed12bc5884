//! The weights of a BERT, by name.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, Var, bail};

use crate::dropout::mix;
use crate::{ModelConfig, Pooling};

/// The weights of a model by the names that HuggingFace's BERT has for them (`bert.` included),
/// sorted by name: also those of its relatives, whose files call them otherwise.
///
/// Three names are ours: `bert.embeddings.projection` where embeddings are narrower than the layers,
/// `bert.encoder.LayerNorm` where each part is normalised before it, and `pooling.query`.
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
        self.0.get(name).ok_or_else(|| candle_core::Error::Msg(format!("no parameter named {name}")))
    }

    /// Fails unless every parameter of a model is here, in its shape.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        for (name, shape) in shapes(config) {
            let found = self.get(&name)?.dims();
            if found != shape {
                bail!("parameter {name} has shape {found:?}, the configuration says {shape:?}");
            }
        }
        Ok(())
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many numbers there are in all tensors together.
    pub fn count(&self) -> usize {
        self.0.values().map(Tensor::elem_count).sum()
    }

    /// The same values as trainable variables: every tensor is the inner tensor of a [`Var`], so
    /// gradients can be asked for by it, and `Var::from_tensor` gives the variable back.
    pub fn trainable(&self) -> Result<Self> {
        self.map(|tensor| Ok(Var::from_tensor(tensor)?.into_inner()))
    }

    /// As [`trainable`](Self::trainable), but those that `is_frozen` names stay plain tensors: no
    /// gradient is computed for them.
    pub fn trainable_but(&self, is_frozen: impl Fn(&str) -> bool) -> Result<Self> {
        let tensors = self.0.iter().map(|(name, tensor)| {
            let tensor = if is_frozen(name) { tensor.detach() } else { Var::from_tensor(tensor)?.into_inner() };
            Ok((name.clone(), tensor))
        });
        Ok(Self(tensors.collect::<Result<_>>()?))
    }

    /// The tensors that are variables, sorted by name.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.iter().filter(|(_, tensor)| tensor.is_variable())
    }

    /// The place of a parameter among the [`variables`](Self::variables); `None` where it is none.
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.variables().position(|(variable, _)| variable == name)
    }

    /// The same storage without gradient tracking: a model over it keeps no graph.
    pub fn detached(&self) -> Self {
        Self(self.0.iter().map(|(name, tensor)| (name.clone(), tensor.detach())).collect())
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
        let changed = self.0.iter().map(|(name, tensor)| Ok((name.clone(), change(tensor)?)));
        Ok(Self(changed.collect::<Result<_>>()?))
    }
}

/// A new model: weights normal with the configured deviation, biases 0, LayerNorm 1, all from
/// `seed`, on the CPU.
///
/// # Errors
/// Only what candle may say of making a tensor.
pub fn initialise(config: &ModelConfig, seed: u64) -> Result<Parameters> {
    let tensors = shapes(config).into_iter().map(|(name, shape)| {
        let tensor = initial(&name, &shape, config, seed)?;
        Ok((name, tensor))
    });
    Ok(Parameters(tensors.collect::<Result<_>>()?))
}

/// The initial value of one parameter: a function of its name and the seed alone, so a new head is
/// the same whatever else is new.
pub(crate) fn initial(name: &str, shape: &[usize], config: &ModelConfig, seed: u64) -> Result<Tensor> {
    let count = shape.iter().product();
    let values = if name.ends_with(".bias") {
        vec![0.0; count]
    } else if name.ends_with("LayerNorm.weight") {
        vec![1.0; count]
    } else {
        let key = name.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)));
        (0..count as u64).map(|element| (normal(key, element) * config.initializer_range) as f32).collect()
    };
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Every parameter of a model with its shape, sorted by name.
pub(crate) fn shapes(config: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    let (hidden, inner, embedding) = (config.hidden_size, config.intermediate_size, config.embedding_width());
    let mut shapes = BTreeMap::new();
    for (name, rows) in [
        ("word", config.vocab_size),
        ("position", config.max_position_embeddings),
        ("token_type", config.type_vocab_size),
        ("task_type", config.task_type_vocab_size),
    ] {
        if rows > 0 {
            shapes.insert(format!("bert.embeddings.{name}_embeddings.weight"), vec![rows, embedding]);
        }
    }
    let mut linear = |name: &str, outputs: usize, inputs: usize| {
        shapes.insert(format!("{name}.weight"), vec![outputs, inputs]);
        shapes.insert(format!("{name}.bias"), vec![outputs]);
    };
    if config.projects_embeddings() {
        linear("bert.embeddings.projection", hidden, embedding);
    }
    for layer in 0..config.distinct_layers() {
        let name = |part: &str| format!("bert.encoder.layer.{layer}.{part}");
        for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            linear(&name(part), hidden, hidden);
        }
        linear(&name("intermediate.dense"), inner, hidden);
        linear(&name("output.dense"), hidden, inner);
    }
    if config.pooling == Pooling::Cls {
        linear("bert.pooler.dense", hidden, hidden);
    }
    linear("classifier", config.classes.len(), hidden);
    if config.pooling == Pooling::Attention {
        shapes.insert("pooling.query.weight".to_owned(), vec![1, hidden]);
    }
    let layers = (0..config.distinct_layers()).flat_map(|layer| {
        ["attention.output", "output"].map(|part| (format!("bert.encoder.layer.{layer}.{part}.LayerNorm"), hidden))
    });
    let last = if config.norms_first() {
        ("bert.encoder.LayerNorm".to_owned(), hidden)
    } else {
        ("bert.embeddings.LayerNorm".to_owned(), embedding)
    };
    for (norm, width) in layers.chain([last]) {
        shapes.insert(format!("{norm}.weight"), vec![width]);
        shapes.insert(format!("{norm}.bias"), vec![width]);
    }
    shapes
}

/// A standard normal number, by Box and Muller's method from two hashes.
fn normal(key: u64, element: u64) -> f64 {
    let uniform = |draw: u64| (mix(key ^ mix(2 * element + draw)) >> 11) as f64 / 2f64.powi(53);
    let radius = (-2.0 * (1.0 - uniform(0)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(1)).cos()
}
