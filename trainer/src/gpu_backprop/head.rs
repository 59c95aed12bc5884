//! What is above the encoder, forward and backward: a dense layer over `[CLS]`, and the logits.

use bert::{Activation, Site};
use candle_core::Result;
use gpu::Argument::{Count, Memory};
use gpu::{Chip, Grid, Numbers, rows, threads};

use super::layer::kind;
use super::linear::Linear;
use super::{Dropped, Learned, Pass, Scratch, Stored};

#[derive(Debug)]
pub(super) struct Head<M> {
    dense: Linear<M>,
    activation: Activation,
    weight: Learned<M>,
    bias: Learned<M>,
    /// To dropout.
    layer: usize,
    width: usize,
    classes: usize,
    /// Before the dense layer, and behind it.
    dropouts: [f64; 2],
}

/// What the way there leaves for the way back.
#[derive(Debug)]
pub(super) struct HeadTrace<M> {
    /// What goes into the dense layer.
    pub rows: M,
    /// What comes out, before it is bent.
    pub dense: M,
    /// What is classified.
    pub pooled: M,
    pub gradient: M,
    pub logits: M,
}

impl<M> Head<M> {
    pub fn new<C: Chip<Memory = M>>(stored: &Stored<'_, C>) -> Result<Self> {
        let config = stored.config;
        Ok(Self {
            dense: Linear::new(&["bert.pooler.dense".to_owned()], stored)?,
            activation: config.head_activation,
            weight: stored.learned("classifier.weight")?,
            bias: stored.learned("classifier.bias")?,
            layer: config.num_hidden_layers + 1,
            width: config.hidden_size,
            classes: config.classes.len(),
            dropouts: [config.head_input_dropout(), config.classifier_dropout()],
        })
    }

    /// Takes over what the parameters are now.
    pub fn refresh<C: Chip<Memory = M>>(&self, chip: &C) -> Result<()> {
        self.dense.refresh(chip)
    }

    /// From the first vectors of the texts to their logits.
    pub fn forward<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        pass: &Pass<'_, M>,
        hidden: &M,
        trace: &mut HeadTrace<M>,
    ) -> Result<()> {
        let [before, behind] = self.dropped(pass);
        self.bend(chip, "bend", pass, hidden, 0, &trace.rows)?;
        self.drop(chip, pass, &trace.rows, before)?;
        self.dense.forward(chip, &trace.rows, pass.batch.texts, &mut trace.dense)?;
        self.bend(chip, "bend", pass, &trace.dense, kind(self.activation), &trace.pooled)?;
        self.drop(chip, pass, &trace.pooled, behind)?;
        chip.launch(
            "classify",
            rows(pass.batch.texts),
            &[
                Memory(&trace.pooled),
                Memory(&self.weight.value),
                Memory(&self.bias.value),
                Count(self.classes),
                Count(pass.batch.texts),
                Memory(&trace.logits),
            ],
        )
    }

    /// From the gradients of the logits to those of the first vectors, in `scratch.gradient`.
    pub fn backward<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        pass: &Pass<'_, M>,
        trace: &HeadTrace<M>,
        logit_gradients: Vec<f32>,
        scratch: &Scratch<M>,
        add: bool,
    ) -> Result<()> {
        let texts = pass.batch.texts;
        let logit_gradients = chip.upload(Numbers::Floats(logit_gradients))?;
        if let (Some(weight), Some(bias)) = (&self.weight.gradient, &self.bias.gradient) {
            let Grid { blocks: (blocks, _), threads } = threads(self.width);
            chip.launch(
                "classifier_gradients",
                Grid { blocks: (blocks, self.classes), threads },
                &[
                    Memory(&logit_gradients),
                    Memory(&trace.pooled),
                    Count(self.classes),
                    Count(texts),
                    Count(add.into()),
                    Memory(weight),
                    Memory(bias),
                ],
            )?;
        }
        chip.launch(
            "classify_backward",
            rows(texts),
            &[
                Memory(&logit_gradients),
                Memory(&self.weight.value),
                Count(self.classes),
                Count(texts),
                Memory(&trace.gradient),
            ],
        )?;
        let [before, behind] = self.dropped(pass);
        self.drop(chip, pass, &trace.gradient, behind)?;
        self.bend(chip, "bend_backward", pass, &trace.dense, kind(self.activation), &trace.gradient)?;
        self.dense.learn(chip, &trace.rows, &trace.gradient, texts, &scratch.partial, add)?;
        self.dense.backward(chip, &trace.gradient, texts, &scratch.gradient, false)?;
        self.drop(chip, pass, &scratch.gradient, before)
    }

    fn dropped(&self, pass: &Pass<'_, M>) -> [Dropped; 2] {
        let [before, behind] = self.dropouts;
        [pass.dropped(self.layer, Site::AttentionOutput, before), pass.dropped(self.layer, Site::Output, behind)]
    }

    fn drop<C: Chip<Memory = M>>(&self, chip: &C, pass: &Pass<'_, M>, memory: &M, dropped: Dropped) -> Result<()> {
        if dropped.is_nothing() {
            return Ok(());
        }
        let texts = pass.batch.texts;
        let [low, high, threshold, kept] = dropped.arguments();
        chip.launch("drop_rows", rows(texts), &[Memory(memory), Count(texts), low, high, threshold, kept])
    }

    /// With kind 0 a copy.
    fn bend<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        kernel: &'static str,
        pass: &Pass<'_, M>,
        from: &M,
        kind: usize,
        to: &M,
    ) -> Result<()> {
        let vectors = pass.batch.texts * self.width / 8;
        chip.launch(kernel, threads(vectors), &[Memory(from), Count(kind), Count(vectors), Memory(to)])
    }
}
