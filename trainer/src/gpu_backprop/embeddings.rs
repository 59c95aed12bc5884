//! The embeddings, forward and backward.

use bert::Site;
use candle_core::Result;
use gpu::Argument::{Count, Memory, Number};
use gpu::{Chip, Grid, WARP, rows, threads};

use super::batch::Plan;
use super::linear::Columns;
use super::norm::{Norm, Normal, Rows};
use super::{Dropped, Learned, Pass, Scratch, Stored};

/// Numbers that a lane of a warp moves at once.
const VECTOR: usize = 8;

#[derive(Debug)]
pub(super) struct Embeddings<M> {
    words: Learned<M>,
    positions: Learned<M>,
    /// Of each of these every token gets row 0.
    constant: Vec<Learned<M>>,
    norm: Norm<M>,
    dropout: f64,
    width: usize,
}

/// What the way there leaves for the way back.
#[derive(Debug)]
pub(super) struct EmbeddingsTrace<M> {
    pub normal: Normal<M>,
    pub hidden: M,
}

impl<M> Embeddings<M> {
    pub fn new<C: Chip<Memory = M>>(stored: &Stored<'_, C>) -> Result<Self> {
        let table = |name: &str| stored.learned(&format!("bert.embeddings.{name}_embeddings.weight"));
        Ok(Self {
            words: table("word")?,
            positions: table("position")?,
            constant: stored.config.constant_embeddings().map(table).collect::<Result<_>>()?,
            norm: Norm::new("bert.embeddings.LayerNorm", stored)?,
            dropout: stored.config.hidden_dropout_prob,
            width: stored.config.hidden_size,
        })
    }

    pub fn forward<C: Chip<Memory = M>>(&self, chip: &C, pass: &Pass<'_, M>, trace: &EmbeddingsTrace<M>) -> Result<()> {
        // Where there are fewer, another memory stands in, which is not read.
        let constant = |number: usize| Memory(&self.constant.get(number).unwrap_or(&self.words).value);
        let [low, high, threshold, kept] = self.dropped(pass).arguments();
        chip.launch(
            "embed",
            rows(pass.batch.tokens),
            &[
                Memory(pass.input),
                Count(pass.batch.tokens),
                Memory(&self.words.value),
                Memory(&self.positions.value),
                constant(0),
                constant(1),
                Count(self.constant.len()),
                Memory(&self.norm.weight.value),
                Memory(&self.norm.bias.value),
                Number(self.norm.epsilon),
                low,
                high,
                threshold,
                kept,
                Memory(&trace.normal.values),
                Memory(&trace.normal.scales),
                Memory(&trace.hidden),
            ],
        )
    }

    /// Learns from the gradient of what came out, in `scratch.gradient`.
    pub fn backward<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        pass: &Pass<'_, M>,
        trace: &EmbeddingsTrace<M>,
        scratch: &Scratch<M>,
        add: bool,
    ) -> Result<()> {
        let tokens = pass.batch.tokens;
        let dropped = self.dropped(pass);
        if !dropped.is_nothing() {
            let [low, high, threshold, kept] = dropped.arguments();
            let gradient = Memory(&scratch.gradient);
            chip.launch("drop_rows", rows(tokens), &[gradient, Count(tokens), low, high, threshold, kept])?;
        }
        let of = Rows { count: tokens, first_only: false, dropped: Dropped::NOTHING };
        self.norm.backward(chip, pass, of, &trace.normal, scratch, add)?;
        self.learn_rows(chip, pass, &self.words, pass.batch.words, scratch, add)?;
        self.learn_rows(chip, pass, &self.positions, pass.batch.positions, scratch, add)?;
        for table in &self.constant {
            let Some(gradient) = &table.gradient else { continue };
            self.clear(chip, table, add)?;
            let columns = Columns { memory: &scratch.gradient, at: 0, stride: self.width, rows: tokens };
            columns.sum(chip, None, self.width, &scratch.partial)?;
            columns.finish(chip, 0, self.width, &scratch.partial, gradient, true)?;
        }
        Ok(())
    }

    fn learn_rows<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        pass: &Pass<'_, M>,
        table: &Learned<M>,
        plan: Plan,
        scratch: &Scratch<M>,
        add: bool,
    ) -> Result<()> {
        let Some(gradient) = &table.gradient else { return Ok(()) };
        self.clear(chip, table, add)?;
        let Grid { blocks: (blocks, _), threads } = rows(plan.groups);
        chip.launch(
            "add_to_rows",
            Grid { blocks: (blocks, self.width.div_ceil(WARP * VECTOR)), threads },
            &[Memory(&scratch.gradient), Memory(pass.input), Count(plan.at), Count(plan.groups), Memory(gradient)],
        )
    }

    /// Forgets the gradient of a table, of which a batch adds to some rows, unless it shall add to it.
    fn clear<C: Chip<Memory = M>>(&self, chip: &C, table: &Learned<M>, add: bool) -> Result<()> {
        match &table.gradient {
            Some(gradient) if !add => {
                chip.launch("clear", threads(table.count.div_ceil(VECTOR)), &[Memory(gradient), Count(table.count)])
            }
            _ => Ok(()),
        }
    }

    fn dropped(&self, pass: &Pass<'_, M>) -> Dropped {
        pass.dropped(0, Site::Output, self.dropout)
    }
}
