//! Everything that a training is told: how it learns, and how it is carried out.

use anyhow::Result;
use classifier::Device;

use crate::base::Base;
use crate::hyperparameters::Hyperparameters;
use crate::precision::ProductPrecision;
use crate::run_options::RunOptions;

/// How a run learns, and how it is carried out.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the model becomes depends on these: they are recorded, and a run resumes under the same
    /// ones only.
    pub hyperparameters: Hyperparameters,
    /// What may differ from one attempt to the next.
    pub options: RunOptions,
}

impl Settings {
    /// The defaults for a base.
    pub fn for_base(base: &Base) -> Self {
        Self { hyperparameters: Hyperparameters::for_base(base), options: RunOptions::default() }
    }

    /// The same with the precision that `auto` means on this device, as it is recorded.
    pub(crate) fn with_precision_on(&self, device: &Device) -> Self {
        let mut settings = self.clone();
        let is_bf16 = self.hyperparameters.precision.is_bf16(device);
        settings.hyperparameters.precision = if is_bf16 { ProductPrecision::Bf16 } else { ProductPrecision::F32 };
        settings
    }

    /// Refuses what could not be learned with, or not run.
    ///
    /// # Errors
    /// The first such value, by its flag's name.
    pub fn check(&self) -> Result<()> {
        self.hyperparameters.check()?;
        self.options.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_the_precision_that_auto_means_on_the_device() {
        let settings = Settings::for_base(&Base::NewBert);
        assert_eq!(settings.hyperparameters.precision, ProductPrecision::Auto);
        let on_cpu = settings.with_precision_on(&Device::Cpu);
        assert_eq!(on_cpu.hyperparameters.precision, ProductPrecision::F32);
    }
}
