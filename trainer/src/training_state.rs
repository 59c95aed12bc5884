//! All that a step changes: weights, moments, average.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bert::{ModelConfig, Parameters};
use candle_core::{Device, Tensor, Var};

use crate::average::Average;
use crate::gradient::Gradients;
use crate::layers;
use crate::optimizer::AdamW;
use crate::settings::Settings;

/// A model as it learns.
pub(crate) struct TrainingState {
    pub parameters: Parameters,
    optimizer: AdamW,
    average: Option<Average>,
    threads: usize,
}

impl TrainingState {
    /// A copy of the parameters on `device`, before the first step.
    pub(crate) fn new(
        parameters: &Parameters,
        config: &ModelConfig,
        settings: &Settings,
        device: &Device,
    ) -> Result<Self> {
        let layers = config.distinct_layers();
        let parameters = parameters.to_device(device)?;
        let parameters =
            parameters.trainable_but(|name| layers::is_frozen(name, layers, settings.hyperparameters.freeze))?;
        let rate = |name: &str| layers::rate(name, layers, settings.hyperparameters.layer_decay);
        Ok(Self {
            optimizer: AdamW::new(&parameters, settings.hyperparameters.weight_decay, rate)?,
            average: settings.hyperparameters.average.map(|decay| Average::new(&parameters, decay)).transpose()?,
            threads: settings.options.threads,
            parameters,
        })
    }

    /// Takes step `step`, counted from 1, with gradients times `scale`.
    pub(crate) fn step(&mut self, step: usize, gradients: &Gradients, learning_rate: f64, scale: f64) -> Result<()> {
        self.optimizer.step(gradients, learning_rate, scale, self.threads)?;
        match &mut self.average {
            Some(average) => average.step(&self.parameters, step, self.threads),
            None => Ok(()),
        }
    }

    /// What has been learned so far: the average where there is one.
    pub(crate) fn learned(&self) -> Parameters {
        self.average.as_ref().map_or_else(|| self.parameters.clone(), Average::parameters)
    }

    /// Everything that the next step depends on, by name.
    pub(crate) fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let mut tensors = HashMap::new();
        let mut keep = |kind: &str, name: &str, tensor: &Tensor| {
            tensors.insert(format!("{kind}/{name}"), tensor.detach().to_device(&Device::Cpu)?);
            anyhow::Ok(())
        };
        for ((name, weights), [first, second]) in self.parameters.variables().zip(self.optimizer.moments()?) {
            keep("weights", name, weights)?;
            keep("first", name, &first)?;
            keep("second", name, &second)?;
        }
        if let Some(average) = &self.average {
            for (name, tensor) in average.parameters().iter() {
                keep("average", name, tensor)?;
            }
        }
        Ok(tensors)
    }

    /// Goes on after `steps` steps that left these tensors.
    pub(crate) fn restore(&mut self, steps: usize, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let kept = |kind: &str, name: &str| {
            let name = format!("{kind}/{name}");
            tensors.get(&name).cloned().with_context(|| format!("the training state has no {name}"))
        };
        let mut moments = Vec::new();
        for (name, parameter) in self.parameters.variables() {
            Var::from_tensor(parameter)?.set(&kept("weights", name)?.to_device(parameter.device())?)?;
            moments.push([kept("first", name)?, kept("second", name)?]);
        }
        self.optimizer.restore(steps, moments)?;
        match &mut self.average {
            Some(average) => average.restore(|name| kept("average", name)),
            None => Ok(()),
        }
    }

    /// [`tensors`](Self::tensors) as one message.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(safetensors::serialize(self.tensors()?, None)?)
    }

    /// [`restore`](Self::restore) from [`to_bytes`](Self::to_bytes).
    pub(crate) fn restore_bytes(&mut self, steps: usize, bytes: &[u8]) -> Result<()> {
        self.restore(steps, &candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?)
    }
}
