use candle_core::{Result, Tensor};

use super::Gradients;
use crate::model::Parameters;
use crate::ops::{self, OutputRows, read};
use crate::parallel;

#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
    /// The places of the gradients of both; nothing where they do not learn.
    slots: Option<[usize; 2]>,
}

/// What a linear operation's parameters learn from: of each shard, the gradient of what it gave and what it was given.
pub(super) struct Lesson<'a> {
    pub linear: &'a Linear,
    pub shards: Vec<(&'a [f32], &'a [f32])>,
}

impl Linear {
    pub fn new(name: &str, parameters: &Parameters) -> Result<Self> {
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        let [weight, bias] = names.each_ref().map(|name| parameters.get(name).cloned());
        let slots = names.map(|name| parameters.slot(&name));
        Ok(Self { weight: weight?, bias: bias?, slots: slots[0].zip(slots[1]).map(Into::into) })
    }

    pub fn learns(&self) -> bool {
        self.slots.is_some()
    }

    pub fn forward(&self, x: &[f32], y: &mut Vec<f32>) -> Result<()> {
        let (weight, bias) = (read(&self.weight)?, read(&self.bias)?);
        y.resize(x.len() / (weight.len() / bias.len()) * bias.len(), 0.0);
        ops::linear(x, &weight, &bias, y);
        Ok(())
    }

    /// The gradient of what went in; added to what is there, or in its place.
    pub fn backward(&self, y_gradient: &[f32], x_gradient: &mut Vec<f32>, add: bool) -> Result<()> {
        let (outputs, inputs) = self.weight.dims2()?;
        x_gradient.resize(y_gradient.len() / outputs * inputs, 0.0);
        ops::linear_backward(y_gradient, &read(&self.weight)?, outputs, x_gradient, add);
        Ok(())
    }
}

/// The gradients of the parameters of several operations, on so many threads.
pub(super) fn learn(lessons: &[Lesson], gradients: &mut Gradients, threads: usize) -> Result<()> {
    let learning = || lessons.iter().filter_map(|lesson| Some((lesson, lesson.linear.slots?)));
    // Lent by the gradients while the threads write to them.
    let mut lent: Vec<_> = learning().map(|(_, slots)| slots.map(|slot| gradients.lend(slot))).collect();
    let mut lanes: Vec<Vec<(&Lesson, OutputRows, bool)>> = (0..threads).map(|_| Vec::new()).collect();
    for ((lesson, _), [(weight, add), (bias, _)]) in learning().zip(&mut lent) {
        let (outputs, inputs) = lesson.linear.weight.dims2()?;
        let (mut weight, mut bias) = (weight.as_mut_slice(), bias.as_mut_slice());
        for (thread, lane) in lanes.iter_mut().enumerate() {
            let rows = outputs * thread / threads..outputs * (thread + 1) / threads;
            let (own_weight, own_bias);
            (own_weight, weight) = weight.split_at_mut(rows.len() * inputs);
            (own_bias, bias) = bias.split_at_mut(rows.len());
            if !rows.is_empty() {
                lane.push((lesson, OutputRows { rows, outputs, weight: own_weight, bias: own_bias }, *add));
            }
        }
    }
    parallel::each(lanes, |lane| {
        for (lesson, mut rows, add) in lane {
            for (number, (y_gradient, x)) in lesson.shards.iter().enumerate() {
                rows.backward(y_gradient, x, add || number > 0);
            }
        }
        Ok(())
    })?;
    for ((_, slots), lent) in learning().zip(lent) {
        for (slot, (values, _)) in slots.into_iter().zip(lent) {
            gradients.give_back(slot, values);
        }
    }
    Ok(())
}
