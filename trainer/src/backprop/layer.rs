//! An encoder layer, forward and backward.

use anyhow::Result;
use bert::{Activation, Mask, ModelConfig, Parameters, Site};

use super::activation::{activate, activate_backward};
use super::attention::{Attention, Operands};
use super::gradients::Gradients;
use super::linear::{Lesson, Linear, learn};
use super::norm::{Branch, Norm, NormGradients, Normal, PLAIN, drop_rows};
use super::pass::Pass;
use super::rows::{Rows, add_to, lookup, lookup_backward};

#[derive(Debug)]
pub(super) struct Layer {
    /// Counted from 1: the embeddings are layer 0 to dropout.
    number: usize,
    width: usize,
    heads: usize,
    /// Whether each part is normalised before it, and not behind.
    norms_first: bool,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    output_norm: Norm,
    attention_dropout: f64,
    hidden_dropout: f64,
}

/// What a layer's forward pass leaves for its backward pass.
#[derive(Debug, Default)]
pub(super) struct LayerTrace {
    /// What attention was given, where that is not what the layer was.
    normed: Vec<f32>,
    /// The rows that come out, as attention was given them; empty where that is all of them.
    rows: Vec<f32>,
    /// The same as the layer was given them, where that is something else.
    residual: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    context: Vec<f32>,
    attention_normal: Normal,
    /// What goes into the feed-forward block.
    attended: Vec<f32>,
    inner: Vec<f32>,
    active: Vec<f32>,
    output_normal: Normal,
}

/// The gradients of what a layer's operations gave.
#[derive(Debug, Default)]
pub(super) struct LayerGradients {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    context: Vec<f32>,
    attention_norm: NormGradients,
    inner: Vec<f32>,
    output_norm: NormGradients,
    /// What went into attention, where not all rows come out or it is normalised first.
    tokens: Vec<f32>,
    /// What went into the feed-forward block, where it is normalised first.
    attended: Vec<f32>,
}

/// A shard that has passed the layer both ways.
pub(super) struct Shard<'a> {
    /// What went in.
    pub x: &'a [f32],
    pub trace: &'a LayerTrace,
    pub gradients: &'a LayerGradients,
}

impl Layer {
    /// The layer that has this `number`, over the weights that stand under another.
    pub fn new(number: usize, weights: usize, config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let name = |part: &str| format!("bert.encoder.layer.{weights}.{part}");
        let linear = |part: &str| Linear::new(&name(part), parameters);
        let norm = |part: &str| Norm::new(&name(part), config, parameters);
        Ok(Self {
            number,
            width: config.hidden_size,
            heads: config.num_attention_heads,
            norms_first: config.norms_first(),
            query: linear("attention.self.query")?,
            key: linear("attention.self.key")?,
            value: linear("attention.self.value")?,
            attention_output: linear("attention.output.dense")?,
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate: linear("intermediate.dense")?,
            activation: config.hidden_act,
            output: linear("output.dense")?,
            output_norm: norm("output.LayerNorm")?,
            attention_dropout: config.attention_probs_dropout_prob,
            hidden_dropout: config.hidden_dropout_prob,
        })
    }

    /// Whether there is a parameter to learn.
    pub fn learns(&self) -> bool {
        self.query.learns()
    }

    pub fn forward(&self, pass: Pass, x: &[f32], trace: &mut LayerTrace, y: &mut Vec<f32>) -> Result<()> {
        let LayerTrace {
            normed,
            rows,
            residual,
            query,
            key,
            value,
            context,
            attention_normal,
            attended,
            inner,
            active,
            output_normal,
        } = trace;
        let tokens: &[f32] = if self.norms_first {
            self.attention_norm.forward_alone(attention_normal, x, normed)?;
            normed
        } else {
            x
        };
        keep_rows(pass, tokens, self.width, rows);
        let rows: &[f32] = if matches!(pass.rows, Rows::Tokens) { tokens } else { rows };
        self.query.forward(rows, query)?;
        self.key.forward(tokens, key)?;
        self.value.forward(tokens, value)?;
        context.resize(rows.len(), 0.0);
        self.attention(pass).forward(Operands { query, key, value }, self.width, context);
        let branch = self.branch(pass, Site::AttentionOutput);
        if self.norms_first {
            // What the layer was given goes on as it was, with what attention adds.
            keep_rows(pass, x, self.width, residual);
            self.attention_output.forward(context, y)?;
            drop_rows(y, self.width, branch);
            add_to(y, if matches!(pass.rows, Rows::Tokens) { x } else { residual });
            self.output_norm.forward_alone(output_normal, y, attended)?;
        } else {
            self.attention_output.forward(context, &mut attention_normal.values)?;
            self.attention_norm.forward(attention_normal, rows, branch, attended)?;
        }
        self.intermediate.forward(attended, inner)?;
        active.resize(inner.len(), 0.0);
        activate(self.activation, inner, active);
        let branch = self.branch(pass, Site::Output);
        if self.norms_first {
            self.output.forward(active, residual)?;
            drop_rows(residual, self.width, branch);
            add_to(y, residual);
            return Ok(());
        }
        self.output.forward(active, &mut output_normal.values)?;
        self.output_norm.forward(output_normal, attended, branch, y)
    }

    /// Turns the gradient of what came out into that of what went in, the latter only if somebody
    /// `needs_input`.
    pub fn backward(
        &self,
        pass: Pass,
        trace: &LayerTrace,
        gradient: &mut Vec<f32>,
        gradients: &mut LayerGradients,
        needs_input: bool,
    ) -> Result<()> {
        if self.norms_first {
            return self.backward_through_norms(pass, trace, gradient, gradients);
        }
        let LayerGradients { query, key, value, context, attention_norm, inner, output_norm, tokens, .. } = gradients;
        self.output_norm.backward(&trace.output_normal, self.branch(pass, Site::Output), gradient, output_norm)?;
        self.output.backward(&output_norm.branch, inner, false)?;
        activate_backward(self.activation, &trace.inner, inner);
        self.intermediate.backward(inner, gradient, true)?;
        let branch = self.branch(pass, Site::AttentionOutput);
        self.attention_norm.backward(&trace.attention_normal, branch, gradient, attention_norm)?;
        self.attention_output.backward(&attention_norm.branch, context, false)?;
        self.attend_backward(pass, trace, context, [query, key, value]);
        if !needs_input {
            return Ok(());
        }
        self.query.backward(query, gradient, true)?;
        match pass.rows {
            Rows::Tokens => self.key.backward(key, gradient, true)?,
            Rows::First(starts) => {
                self.key.backward(key, tokens, false)?;
                lookup_backward(gradient, self.width, starts[..starts.len() - 1].iter().copied(), tokens);
                std::mem::swap(gradient, tokens);
            }
        }
        self.value.backward(value, gradient, true)
    }

    /// The same where each part is normalised before it. The norms need the gradient of what went
    /// into the layer, so it is always there.
    fn backward_through_norms(
        &self,
        pass: Pass,
        trace: &LayerTrace,
        gradient: &mut Vec<f32>,
        gradients: &mut LayerGradients,
    ) -> Result<()> {
        let LayerGradients { query, key, value, context, attention_norm, inner, output_norm, tokens, attended } =
            gradients;
        // The norms' backward pass says what their own branch gets; the branches here are others.
        let mut output_branch = std::mem::take(&mut output_norm.branch);
        output_branch.clone_from(gradient);
        drop_rows(&mut output_branch, self.width, self.branch(pass, Site::Output));
        self.output.backward(&output_branch, inner, false)?;
        activate_backward(self.activation, &trace.inner, inner);
        self.intermediate.backward(inner, attended, false)?;
        self.output_norm.backward(&trace.output_normal, PLAIN, attended, output_norm)?;
        output_norm.branch = output_branch;
        add_to(gradient, attended);

        let mut attention_branch = std::mem::take(&mut attention_norm.branch);
        attention_branch.clone_from(gradient);
        drop_rows(&mut attention_branch, self.width, self.branch(pass, Site::AttentionOutput));
        self.attention_output.backward(&attention_branch, context, false)?;
        self.attend_backward(pass, trace, context, [query, key, value]);
        self.key.backward(key, tokens, false)?;
        self.value.backward(value, tokens, true)?;
        let places = |starts: &[usize]| starts[..starts.len() - 1].to_vec();
        match pass.rows {
            Rows::Tokens => self.query.backward(query, tokens, true)?,
            Rows::First(starts) => {
                self.query.backward(query, attended, false)?;
                lookup_backward(attended, self.width, places(starts).into_iter(), tokens);
            }
        }
        self.attention_norm.backward(&trace.attention_normal, PLAIN, tokens, attention_norm)?;
        attention_norm.branch = attention_branch;
        match pass.rows {
            Rows::Tokens => add_to(gradient, tokens),
            Rows::First(starts) => {
                lookup_backward(gradient, self.width, places(starts).into_iter(), tokens);
                std::mem::swap(gradient, tokens);
            }
        }
        Ok(())
    }

    /// From the gradient of the context to those of queries, keys and values.
    fn attend_backward(
        &self,
        pass: Pass,
        trace: &LayerTrace,
        context: &[f32],
        [query, key, value]: [&mut Vec<f32>; 3],
    ) {
        query.resize(trace.query.len(), 0.0);
        key.resize(trace.key.len(), 0.0);
        value.resize(trace.value.len(), 0.0);
        let operands = Operands { query: &*trace.query, key: &*trace.key, value: &*trace.value };
        let of_operands =
            Operands { query: query.as_mut_slice(), key: key.as_mut_slice(), value: value.as_mut_slice() };
        self.attention(pass).backward(operands, self.width, context, of_operands);
    }

    /// The gradients of the parameters.
    pub fn learn(&self, shards: &[Shard], gradients: &mut Gradients) -> Result<()> {
        let lessons = [
            lesson(&self.query, shards, |shard| (&shard.gradients.query, shard.rows())),
            lesson(&self.key, shards, |shard| (&shard.gradients.key, shard.tokens())),
            lesson(&self.value, shards, |shard| (&shard.gradients.value, shard.tokens())),
            lesson(&self.attention_output, shards, |shard| {
                (&shard.gradients.attention_norm.branch, &shard.trace.context)
            }),
            lesson(&self.intermediate, shards, |shard| (&shard.gradients.inner, &shard.trace.attended)),
            lesson(&self.output, shards, |shard| (&shard.gradients.output_norm.branch, &shard.trace.active)),
        ];
        learn(&lessons, gradients, shards.len())?;
        self.attention_norm.learn(shards.iter().map(|shard| &shard.gradients.attention_norm), gradients);
        self.output_norm.learn(shards.iter().map(|shard| &shard.gradients.output_norm), gradients);
        Ok(())
    }

    fn attention<'a>(&self, pass: Pass<'a>) -> Attention<'a> {
        let mask = self.mask(pass, Site::Attention, self.attention_dropout);
        Attention { starts: pass.batch.starts(), heads: self.heads, mask, queries: pass.rows }
    }

    fn branch<'a>(&self, pass: Pass<'a>, site: Site) -> Branch<'a> {
        Branch { mask: self.mask(pass, site, self.hidden_dropout), rows: pass.rows }
    }

    fn mask(&self, pass: Pass, site: Site, probability: f64) -> Option<Mask> {
        pass.mask(self.number, site, probability)
    }
}

impl<'a> Shard<'a> {
    /// What attention was given.
    fn tokens(&self) -> &'a [f32] {
        if self.trace.normed.is_empty() { self.x } else { &self.trace.normed }
    }

    /// The rows that came out, as attention was given them.
    fn rows(&self) -> &'a [f32] {
        if self.trace.rows.is_empty() { self.tokens() } else { &self.trace.rows }
    }
}

/// Copies the rows that come out of a layer, where not all of them do.
fn keep_rows(pass: Pass, tokens: &[f32], width: usize, rows: &mut Vec<f32>) {
    if let Rows::First(starts) = pass.rows {
        rows.resize((starts.len() - 1) * width, 0.0);
        lookup(tokens, width, starts[..starts.len() - 1].iter().copied(), rows);
    }
}

fn lesson<'a>(
    linear: &'a Linear,
    shards: &[Shard<'a>],
    of_shard: impl Fn(&Shard<'a>) -> (&'a [f32], &'a [f32]),
) -> Lesson<'a> {
    Lesson { linear, shards: shards.iter().map(of_shard).collect() }
}
