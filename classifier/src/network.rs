//! A network and its tokenizer, on its device: here it is decided what computes it.

use std::sync::Arc;

use bert::{Family, ModelConfig, Parameters, Pooling, Reference, TokenBatch, Tokenizer, parallel};
use candle_core::{Device, Result, bail};

use crate::composed::Composed;
use crate::engine::Engine;
use crate::kind::ModelKind;
use crate::precision::Precision;
use crate::prediction::Prediction;

/// Tokens that one forward pass takes on the CPU, about: their activations fit a core's cache.
const CPU_TOKENS: usize = 512;

/// The same of candle-transformers, which pads the texts of a pass to one length.
const COMPOSED_TOKENS: usize = 1_024;

/// Workers on one shard at most, where there are more cores than shards: the more there are, the
/// more they wait for each other.
const LARGEST_TEAM: usize = 4;

/// Tokens that one forward pass takes on a GPU, at most: enough work for each kernel to hide its
/// launch.
const GPU_TOKENS: usize = 16_384;

#[derive(Clone, Debug)]
pub(crate) struct Network {
    tokenizer: Tokenizer,
    model: Model,
    precision: Precision,
    /// What the model is; nothing where candle-transformers has it.
    config: Option<ModelConfig>,
    device: Device,
}

impl Drop for Network {
    fn drop(&mut self) {
        // Any thread may be the last that has it. The first call may say what went wrong before; a
        // device that fails again has nothing to free.
        let _ = gpu::enter(&self.device).or_else(|_| gpu::enter(&self.device));
    }
}

#[derive(Clone, Debug)]
enum Model {
    /// On the CPU.
    Engine(Engine),
    /// On a GPU, with kernels of our own.
    #[cfg(feature = "cuda")]
    Gpu(crate::cuda::Engine),
    /// On a GPU, in f32 or where our kernels do not fit.
    Reference(Box<Reference>),
    /// Not BERT's relative; on any device, in f32.
    Composed(Arc<Composed>),
}

impl Network {
    /// A network where its parameters are; without a precision, in the one that the device has for
    /// it.
    pub fn new(
        config: &ModelConfig,
        parameters: &Parameters,
        tokenizer: Tokenizer,
        precision: Option<Precision>,
    ) -> Result<Self> {
        let parameters = parameters.detached();
        let device = parameters.iter().next().map_or(Device::Cpu, |(_, tensor)| tensor.device().clone());
        let is_on_cpu = device.is_cpu();
        let reference = || Model::reference(config, &parameters).map(|model| (model, Precision::F32));
        let (model, precision) = match precision {
            Some(Precision::Bf16) if is_on_cpu => bail!("bf16 runs on a GPU alone"),
            _ if is_on_cpu => {
                let precision = precision.unwrap_or(Precision::F32);
                (Model::Engine(Engine::new(config, &parameters, precision)?), precision)
            }
            None | Some(Precision::Bf16) => match Model::gpu(config, &parameters)? {
                Some(model) => (model, Precision::Bf16),
                None => reference()?,
            },
            Some(Precision::F32) => reference()?,
            Some(Precision::Int8) => bail!("int8 runs on the CPU alone"),
        };
        Ok(Self { tokenizer, model, precision, config: Some(config.clone()), device })
    }

    /// A network of candle-transformers.
    pub fn composed(composed: Composed, tokenizer: Tokenizer) -> Self {
        let device = composed.device.clone();
        Self { tokenizer, model: Model::Composed(Arc::new(composed)), precision: Precision::F32, config: None, device }
    }

    pub fn kind(&self) -> ModelKind {
        match (&self.model, &self.config) {
            (Model::Composed(composed), _) => ModelKind::Composed(composed.family),
            (_, config) => ModelKind::Bert(config.as_ref().map_or(Family::Bert, |config| config.family)),
        }
    }

    /// See [`Classifier::engine`](crate::Classifier::engine).
    pub fn engine(&self) -> &'static str {
        match &self.model {
            Model::Engine(_) => "own engine (CPU)",
            #[cfg(feature = "cuda")]
            Model::Gpu(_) => "own kernels (GPU)",
            Model::Reference(_) => "candle (GPU)",
            Model::Composed(_) => "candle-transformers",
        }
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// See [`Classifier::operations`](crate::Classifier::operations).
    pub fn operations(&self, lengths: &[usize]) -> f64 {
        let Some(config) = &self.config else { return 0.0 };
        let ModelConfig { hidden_size: hidden, intermediate_size: inner, num_hidden_layers: layers, .. } = *config;
        let (hidden, inner) = (hidden as f64, inner as f64);
        let text = |length: &usize| {
            let tokens = *length as f64;
            // Query and output, and the feed-forward block, for so many tokens; the keys and values
            // are always those of all.
            let layer = |read: f64| {
                4.0 * hidden * hidden * tokens
                    + read * (4.0 * hidden * hidden + 4.0 * hidden * inner + 4.0 * tokens * hidden)
            };
            let last = if config.pooling == Pooling::Cls { 1.0 } else { tokens };
            (layers - 1) as f64 * layer(tokens) + layer(last)
        };
        if layers == 0 { 0.0 } else { lengths.iter().map(text).sum() }
    }

    /// Tokens of the longest text that the model can take.
    pub fn positions(&self) -> usize {
        match (&self.model, &self.config) {
            (Model::Composed(composed), _) => composed.longest,
            (_, config) => config.as_ref().map_or(0, ModelConfig::longest_text),
        }
    }

    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T], max_length: usize) -> Result<Vec<Vec<u32>>> {
        self.tokenizer.encode_batch(texts, max_length)
    }

    pub fn classify_tokens<T: AsRef<[u32]> + Sync>(&self, texts: &[T]) -> Result<Vec<Prediction>> {
        Ok(self.logits(texts)?.iter().map(|logits| Prediction::from_logits(logits)).collect())
    }

    /// What the softmax is taken of, for each text.
    pub fn logits<T: AsRef<[u32]> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>> {
        self.compute(texts).map_err(gpu::explain)
    }

    fn compute<T: AsRef<[u32]> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>> {
        let same = alike(texts);
        let distinct: Vec<usize> = same.iter().map(|texts| texts[0]).collect();
        let length = |text: usize| texts[text].as_ref().len();
        let shards = shards(&distinct, length, |tokens, longest| self.shards(tokens, longest));
        let batch =
            |shard: &[usize]| TokenBatch::new(&shard.iter().map(|text| texts[*text].as_ref()).collect::<Vec<_>>());
        let logits: Vec<Vec<Vec<f32>>> = match &self.model {
            Model::Engine(engine) => {
                let workers = (parallel::cores() / shards.len().max(1)).clamp(1, LARGEST_TEAM);
                parallel::map(&shards, |shard| engine.forward(&batch(shard), workers))?
            }
            // One thread owns the device.
            #[cfg(feature = "cuda")]
            Model::Gpu(gpu) => vec![gpu.forward(distinct.len(), shards.iter().map(|shard| batch(shard)))?],
            Model::Composed(model) => shards.iter().map(|shard| model.forward(&batch(shard))).collect::<Result<_>>()?,
            Model::Reference(model) => {
                shards.iter().map(|shard| model.forward(&batch(shard), None)?.to_vec2()).collect::<Result<_>>()?
            }
        };
        let mut all = vec![Vec::new(); texts.len()];
        for (texts, logits) in same.iter().zip(logits.iter().flatten()) {
            texts.iter().for_each(|text| all[*text].clone_from(logits));
        }
        Ok(all)
    }

    /// How many shards so many tokens make: as large as suits the device, and on the CPU as many
    /// for each core.
    fn shards(&self, tokens: usize, longest: usize) -> usize {
        match self.model {
            Model::Engine(_) => tokens.div_ceil(CPU_TOKENS).next_multiple_of(parallel::cores()),
            // It uses all cores for one shard.
            Model::Composed(_) => tokens.div_ceil(COMPOSED_TOKENS),
            // None of them has more than its share and one text.
            _ => tokens.div_ceil(GPU_TOKENS.saturating_sub(longest).max(1)),
        }
    }
}

impl Model {
    fn reference(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        Ok(Self::Reference(Box::new(Reference::new(config, parameters)?)))
    }

    /// A model for the GPU that its parameters are on, if our kernels can do it there.
    #[cfg(feature = "cuda")]
    fn gpu(config: &ModelConfig, parameters: &Parameters) -> Result<Option<Self>> {
        match parameters.get("classifier.weight")?.device() {
            candle_core::Device::Cuda(device) => {
                Ok(crate::cuda::Engine::new(config, parameters, device, GPU_TOKENS)?.map(Self::Gpu))
            }
            _ => Ok(None),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn gpu(_: &ModelConfig, _: &Parameters) -> Result<Option<Self>> {
        Ok(None)
    }
}

/// The texts, longest first, those with the same ids together: they are computed once.
fn alike<T: AsRef<[u32]>>(texts: &[T]) -> Vec<Vec<usize>> {
    let ids = |text: usize| texts[text].as_ref();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    // Stable, so that the first of the same is the one that stands for them.
    order.sort_by(|&one, &other| ids(other).len().cmp(&ids(one).len()).then_with(|| ids(one).cmp(ids(other))));
    order.chunk_by(|&one, &other| ids(one) == ids(other)).map(<[usize]>::to_vec).collect()
}

/// Cuts texts, longest first, into runs of about the same number of tokens: as many as `count` says
/// of all tokens and of the longest text's, or fewer where the texts are long. A run has at most
/// its share and one text more.
fn shards(order: &[usize], length: impl Fn(usize) -> usize, count: impl Fn(usize, usize) -> usize) -> Vec<&[usize]> {
    let tokens: usize = order.iter().map(|text| length(*text)).sum();
    let Some(longest) = order.first().map(|text| length(*text)) else { return Vec::new() };
    let count = count(tokens, longest);
    let mut before = 0;
    // A text belongs to the share that its middle lies in.
    let share = |before: usize, text: usize| (2 * before + length(text)) * count / (2 * tokens).max(1);
    let same_share = |&text: &usize, &next: &usize| {
        let own = share(before, text);
        before += length(text);
        own == share(before, next)
    };
    order.chunk_by(same_share).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_with_the_same_ids_stand_together_and_longer_ones_first() {
        let texts: [&[u32]; 6] = [&[1, 2], &[1, 3, 2], &[1, 2], &[], &[1, 2, 2], &[1, 2]];
        assert_eq!(alike(&texts), [vec![4], vec![1], vec![0, 2, 5], vec![3]]);
        assert!(alike::<&[u32]>(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn shards_hold_every_text_once_in_order_and_are_of_about_the_same_size(mut lengths in prop::collection::vec(1_usize..600, 0..80), count in 1_usize..40) {
            lengths.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
            let order: Vec<usize> = (0..lengths.len()).collect();
            let shards = shards(&order, |text| lengths[text], |_, _| count);
            prop_assert_eq!(&shards.concat(), &order);
            prop_assert!(shards.len() <= count);
            let tokens: usize = lengths.iter().sum();
            for shard in shards {
                let own: usize = shard.iter().map(|text| lengths[*text]).sum();
                prop_assert!(own <= tokens.div_ceil(count) + lengths[0], "{own}");
            }
        }
    }
}
