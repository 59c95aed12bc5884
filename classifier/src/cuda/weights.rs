//! The weights, as the kernels read them.

use bert::{Activation, ModelConfig, Parameters, Pooling};
use candle_core::{DType, Device, Result, Tensor};
use gpu::{Chip, Linear, Numbers};
use half::bf16;

/// A model's weights on the device: what is multiplied in bf16, the rest in f32.
#[derive(Debug)]
pub(super) struct Weights<M> {
    /// bf16, (vocabulary, width)
    pub words: M,
    /// What a position adds, token type 0 and task 0 included: bf16, (positions, width)
    pub places: M,
    pub norm: Norm<M>,
    pub layers: Vec<Layer<M>>,
    pub pooler: Pooler<M>,
    /// (classes, width)
    pub head_weight: M,
    pub head_bias: M,
}

#[derive(Debug)]
pub(super) struct Layer<M> {
    pub projection: Projection<M>,
    pub output: Linear<M>,
    pub attention_norm: Norm<M>,
    pub inner: Linear<M>,
    pub activation: Activation,
    pub outer: Linear<M>,
    pub outer_norm: Norm<M>,
}

/// Queries, keys and values.
#[derive(Debug)]
pub(super) enum Projection<M> {
    /// All three of every token.
    Every(Linear<M>),
    /// Keys and values of every token, queries of the first of each text.
    First { query: Linear<M>, memory: Linear<M> },
}

/// LayerNorm.
#[derive(Debug)]
pub(super) struct Norm<M> {
    pub weight: M,
    pub bias: M,
    pub epsilon: f32,
}

/// The vectors of all tokens to one a text.
#[derive(Debug)]
pub(super) enum Pooler<M> {
    Cls {
        dense: Linear<M>,
        bend: Activation,
    },
    Max,
    /// By the softmax of the products with this vector; the mean is the one with zeros.
    Weighted(M),
}

impl<M> Weights<M> {
    /// The weights of a model whose last layer reads `[CLS]` alone where the pooler does.
    pub fn upload<C: Chip<Memory = M>>(chip: &C, config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        parameters.check(config)?;
        let stored = Stored { chip, config, parameters };
        let table = |name: &str| stored.tensor(&format!("bert.embeddings.{name}_embeddings.weight"));
        let mut places = table("position")?;
        for name in config.constant_embeddings() {
            places = places.broadcast_add(&table(name)?.get(0)?)?;
        }
        Ok(Self {
            words: stored.halves(&table("word")?)?,
            places: stored.halves(&places)?,
            norm: stored.norm("bert.embeddings.LayerNorm")?,
            layers: (0..config.num_hidden_layers).map(|number| stored.layer(number)).collect::<Result<_>>()?,
            pooler: stored.pooler()?,
            head_weight: stored.floats("classifier.weight")?,
            head_bias: stored.floats("classifier.bias")?,
        })
    }
}

/// Where weights come from, and where they go.
struct Stored<'a, C> {
    chip: &'a C,
    config: &'a ModelConfig,
    parameters: &'a Parameters,
}

impl<C: Chip> Stored<'_, C> {
    fn layer(&self, number: usize) -> Result<Layer<C::Memory>> {
        let name = |part: &str| format!("bert.encoder.layer.{number}.{part}");
        let [query, key, value] = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        let is_last = number + 1 == self.config.num_hidden_layers;
        let projection = if is_last && self.config.pooling == Pooling::Cls {
            Projection::First { query: self.linear(&[query])?, memory: self.linear(&[key, value])? }
        } else {
            Projection::Every(self.linear(&[query, key, value])?)
        };
        Ok(Layer {
            projection,
            output: self.linear(&[name("attention.output.dense")])?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"))?,
            inner: self.linear(&[name("intermediate.dense")])?,
            activation: self.config.hidden_act,
            outer: self.linear(&[name("output.dense")])?,
            outer_norm: self.norm(&name("output.LayerNorm"))?,
        })
    }

    fn pooler(&self) -> Result<Pooler<C::Memory>> {
        Ok(match self.config.pooling {
            Pooling::Cls => Pooler::Cls {
                dense: self.linear(&["bert.pooler.dense".to_owned()])?,
                bend: self.config.head_activation,
            },
            Pooling::Mean => Pooler::Weighted(self.chip.upload(Numbers::Floats(vec![0.0; self.config.hidden_size]))?),
            Pooling::Max => Pooler::Max,
            Pooling::Attention => Pooler::Weighted(self.floats("pooling.query.weight")?),
        })
    }

    /// One layer that does what several do side by side.
    fn linear(&self, names: &[String]) -> Result<Linear<C::Memory>> {
        let stack = |part: &str| {
            let tensors = names.iter().map(|name| self.tensor(&format!("{name}.{part}")));
            Tensor::cat(&tensors.collect::<Result<Vec<_>>>()?, 0)
        };
        let weight = stack("weight")?;
        let (outputs, inputs) = weight.dims2()?;
        Ok(Linear { weight: self.halves(&weight)?, bias: self.halves(&stack("bias")?)?, inputs, outputs })
    }

    fn norm(&self, name: &str) -> Result<Norm<C::Memory>> {
        Ok(Norm {
            weight: self.floats(&format!("{name}.weight"))?,
            bias: self.floats(&format!("{name}.bias"))?,
            epsilon: self.config.layer_norm_eps as f32,
        })
    }

    fn floats(&self, name: &str) -> Result<C::Memory> {
        self.chip.upload(Numbers::Floats(self.tensor(name)?.flatten_all()?.to_vec1()?))
    }

    fn halves(&self, tensor: &Tensor) -> Result<C::Memory> {
        self.chip.upload(Numbers::Halves(tensor.to_dtype(DType::BF16)?.flatten_all()?.to_vec1::<bf16>()?))
    }

    /// A parameter on the CPU, where it is stacked and rounded, once.
    fn tensor(&self, name: &str) -> Result<Tensor> {
        self.parameters.get(name)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)
    }
}
