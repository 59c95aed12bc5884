//! The graph of BERT and of its relatives.

use anyhow::Result;
use bert::{Activation, ModelConfig, Parameters, Pooling};
use candle_core::Tensor;

use crate::graph::{Builder, Constant};
use crate::proto::{FLOAT, INT64};
use crate::rounding::{Rounded, Weights, is_rounded};

/// What is added to the score of a token that is padding.
const NEVER: f32 = -1e9;

/// The whole graph: `input_ids` and `attention_mask` (batch, sequence) to `logits` (batch, classes).
pub(crate) fn network(config: &ModelConfig, parameters: &Parameters, weights: Weights) -> Result<Builder> {
    let mut writer = Writer { graph: Builder::default(), config, parameters, weights };
    let ids = writer.graph.input("input_ids", INT64, &["batch", "sequence"]);
    let mask = writer.graph.input("attention_mask", INT64, &["batch", "sequence"]);
    let mask = writer.graph.cast("mask", &mask, FLOAT);
    let mut hidden = writer.embeddings(&ids)?;
    let penalty = writer.penalty(&mask);
    for (number, layer) in config.layers().into_iter().enumerate() {
        hidden = writer.layer(number, layer, &hidden, &penalty)?;
    }
    if config.norms_first() {
        hidden = writer.norm("encoder/LayerNorm", "bert.encoder.LayerNorm", &hidden)?;
    }
    let pooled = writer.pool(&hidden, &mask, &penalty)?;
    let logits = writer.linear("classifier", "classifier", &pooled)?;
    writer.graph.output(&logits, "logits", &["batch", &config.classes.len().to_string()]);
    Ok(writer.graph)
}

struct Writer<'a> {
    graph: Builder,
    config: &'a ModelConfig,
    parameters: &'a Parameters,
    weights: Weights,
}

impl Writer<'_> {
    fn embeddings(&mut self, ids: &str) -> Result<String> {
        let table = |name: &str| self.parameters.get(&format!("bert.embeddings.{name}_embeddings.weight"));
        let mut places = table("position")?.clone();
        for name in self.config.constant_embeddings() {
            places = places.broadcast_add(&table(name)?.get(0)?)?;
        }
        let words = table("word")?.clone();
        let words = self.graph.floats("embeddings.word_embeddings.weight", &words)?;
        let places = self.graph.floats("embeddings.places.weight", &places)?;
        let words = self.graph.node("embeddings/words", "Gather", &[&words, ids], &[("axis", Constant::Int(0))]);
        let positions = self.positions(ids);
        let places =
            self.graph.node("embeddings/places", "Gather", &[&places, &positions], &[("axis", Constant::Int(0))]);
        let mut hidden = self.graph.node("embeddings/sum", "Add", &[&words, &places], &[]);
        if !self.config.norms_first() {
            hidden = self.norm("embeddings/LayerNorm", "bert.embeddings.LayerNorm", &hidden)?;
        }
        if self.config.projects_embeddings() {
            hidden = self.linear("embeddings/projection", "bert.embeddings.projection", &hidden)?;
        }
        Ok(hidden)
    }

    /// Where each token stands in the position embedding: (sequence), or (batch, sequence) where
    /// that depends on which tokens there are.
    fn positions(&mut self, ids: &str) -> String {
        let graph = &mut self.graph;
        let axis = graph.ints("one", &[1], true);
        let Some(padding) = self.config.padding else {
            let zero = graph.ints("zero", &[0], true);
            let shape = graph.node("positions/shape", "Shape", &[ids], &[]);
            let length = graph.node("positions/length", "Gather", &[&shape, &axis], &[("axis", Constant::Int(0))]);
            return graph.node("positions", "Range", &[&zero, &length, &axis], &[]);
        };
        let padding = graph.ints("padding", &[padding.into()], true);
        let is_padding = graph.node("positions/is_padding", "Equal", &[ids, &padding], &[]);
        let is_text = graph.node("positions/is_text", "Not", &[&is_padding], &[]);
        let is_text = graph.cast("positions/counted", &is_text, INT64);
        let seen = graph.node("positions/seen", "CumSum", &[&is_text, &axis], &[]);
        let seen = graph.node("positions/of_text", "Mul", &[&seen, &is_text], &[]);
        graph.node("positions", "Add", &[&seen, &padding], &[])
    }

    /// What is added to the scores of each text's tokens: (batch, 1, 1, sequence).
    fn penalty(&mut self, mask: &str) -> String {
        let graph = &mut self.graph;
        let axes = graph.ints("mask_axes", &[1, 2], false);
        let mask = graph.node("mask/unsqueezed", "Unsqueeze", &[mask, &axes], &[]);
        let (one, never) = (graph.number("one_float", 1.0), graph.number("never", NEVER));
        let missing = graph.node("mask/missing", "Sub", &[&one, &mask], &[]);
        graph.node("mask/penalty", "Mul", &[&missing, &never], &[])
    }

    fn layer(&mut self, number: usize, weights: usize, hidden: &str, penalty: &str) -> Result<String> {
        let at = |part: &str| format!("encoder/layer.{number}/{part}");
        let of = |part: &str| format!("bert.encoder.layer.{weights}.{part}");
        let (attention_norm, output_norm) = (of("attention.output.LayerNorm"), of("output.LayerNorm"));
        let norms_first = self.config.norms_first();
        let given = match norms_first {
            true => self.norm(&at("attention/LayerNorm"), &attention_norm, hidden)?,
            false => hidden.to_owned(),
        };
        let context = self.attention(number, weights, &given, penalty)?;
        let attended = self.linear(&at("attention/output/dense"), &of("attention.output.dense"), &context)?;
        let mut attended = self.graph.node(&at("attention/output/sum"), "Add", &[&attended, hidden], &[]);
        let given = match norms_first {
            true => self.norm(&at("output/LayerNorm"), &output_norm, &attended)?,
            false => {
                attended = self.norm(&at("attention/output/LayerNorm"), &attention_norm, &attended)?;
                attended.clone()
            }
        };
        let inner = self.linear(&at("intermediate/dense"), &of("intermediate.dense"), &given)?;
        let inner = self.activation(&at("intermediate/activation"), self.config.hidden_act, &inner);
        let outer = self.linear(&at("output/dense"), &of("output.dense"), &inner)?;
        let sum = self.graph.node(&at("output/sum"), "Add", &[&outer, &attended], &[]);
        if norms_first { Ok(sum) } else { self.norm(&at("output/LayerNorm"), &output_norm, &sum) }
    }

    fn attention(&mut self, number: usize, weights: usize, given: &str, penalty: &str) -> Result<String> {
        let at = |part: &str| format!("encoder/layer.{number}/attention/self/{part}");
        let of = |part: &str| format!("bert.encoder.layer.{weights}.attention.self.{part}");
        let heads = [0, 0, self.config.num_attention_heads as i64, self.config.head_size() as i64];
        let heads = self.graph.ints("heads", &heads, false);
        let mut part = |name: &str, order: [i64; 4]| -> Result<String> {
            let all = self.linear(&at(name), &of(name), given)?;
            let by_head = self.graph.node(&at(&format!("{name}/by_head")), "Reshape", &[&all, &heads], &[]);
            let order = [("perm", Constant::Ints(order.to_vec()))];
            Ok(self.graph.node(&at(&format!("{name}/ordered")), "Transpose", &[&by_head], &order))
        };
        let (query, key, value) =
            (part("query", [0, 2, 1, 3])?, part("key", [0, 2, 3, 1])?, part("value", [0, 2, 1, 3])?);
        let graph = &mut self.graph;
        let scale = graph.number("scale", 1.0 / (self.config.head_size() as f32).sqrt());
        let scores = graph.node(&at("products"), "MatMul", &[&query, &key], &[]);
        let scores = graph.node(&at("scores"), "Mul", &[&scores, &scale], &[]);
        let scores = graph.node(&at("masked"), "Add", &[&scores, penalty], &[]);
        let shares = graph.node(&at("shares"), "Softmax", &[&scores], &[("axis", Constant::Int(-1))]);
        let mixed = graph.node(&at("mixed"), "MatMul", &[&shares, &value], &[]);
        let order = [("perm", Constant::Ints(vec![0, 2, 1, 3]))];
        let mixed = graph.node(&at("mixed/ordered"), "Transpose", &[&mixed], &order);
        let whole = graph.ints("whole", &[0, 0, self.config.hidden_size as i64], false);
        Ok(graph.node(&at("context"), "Reshape", &[&mixed, &whole], &[]))
    }

    /// (batch, sequence, width) to (batch, width).
    fn pool(&mut self, hidden: &str, mask: &str, penalty: &str) -> Result<String> {
        if self.config.pooling == Pooling::Cls {
            let first = self.graph.ints("zero", &[0], true);
            let first = self.graph.node("pooler/first", "Gather", &[hidden, &first], &[("axis", Constant::Int(1))]);
            let dense = self.linear("pooler/dense", "bert.pooler.dense", &first)?;
            return Ok(self.activation("pooler/activation", self.config.head_activation, &dense));
        }
        let last = self.graph.ints("last_axis", &[-1], false);
        let keep_none = || [("keepdims", Constant::Int(0))];
        if self.config.pooling == Pooling::Max {
            // The penalty of each token, (batch, sequence, 1).
            let axes = self.graph.ints("mask_axes", &[1, 2], false);
            let flat = self.graph.node("pooler/penalty", "Squeeze", &[penalty, &axes], &[]);
            let flat = self.graph.node("pooler/penalty/column", "Unsqueeze", &[&flat, &last], &[]);
            let masked = self.graph.node("pooler/masked", "Add", &[hidden, &flat], &[]);
            let constants = [("axes", Constant::Ints(vec![1])), ("keepdims", Constant::Int(0))];
            return Ok(self.graph.node("pooler/greatest", "ReduceMax", &[&masked], &constants));
        }
        let shares = match self.config.pooling {
            Pooling::Attention => {
                let query = self.parameters.get("pooling.query.weight")?.t()?.contiguous()?;
                let query = self.graph.floats("pooling.query.weight", &query)?;
                let scores = self.graph.node("pooler/scores", "MatMul", &[hidden, &query], &[]);
                let scores = self.graph.node("pooler/scores/row", "Squeeze", &[&scores, &last], &[]);
                let axes = self.graph.ints("mask_axes", &[1, 2], false);
                let flat = self.graph.node("pooler/penalty", "Squeeze", &[penalty, &axes], &[]);
                let scores = self.graph.node("pooler/scores/masked", "Add", &[&scores, &flat], &[]);
                self.graph.node("pooler/shares", "Softmax", &[&scores], &[("axis", Constant::Int(-1))])
            }
            _ => {
                let count = self.graph.node("pooler/count", "ReduceSum", &[mask, &last], &[]);
                self.graph.node("pooler/shares", "Div", &[mask, &count], &[])
            }
        };
        let column = self.graph.node("pooler/shares/column", "Unsqueeze", &[&shares, &last], &[]);
        let weighed = self.graph.node("pooler/weighed", "Mul", &[hidden, &column], &[]);
        let axis = self.graph.ints("sequence_axis", &[1], false);
        Ok(self.graph.node("pooler/mean", "ReduceSum", &[&weighed, &axis], &keep_none()))
    }

    fn linear(&mut self, at: &str, name: &str, x: &str) -> Result<String> {
        let weight = self.weight(name)?;
        let bias = self.parameters.get(&format!("{name}.bias"))?.clone();
        let bias = self.graph.floats(&format!("{name}.bias"), &bias)?;
        let product = self.graph.node(&format!("{at}/product"), "MatMul", &[x, &weight], &[]);
        Ok(self.graph.node(at, "Add", &[&product, &bias], &[]))
    }

    /// (inputs, outputs), as MatMul wants it.
    fn weight(&mut self, name: &str) -> Result<String> {
        let name = format!("{name}.weight");
        let tensor = self.parameters.get(&name)?.clone();
        if self.weights == Weights::F32 || !is_rounded(&name) {
            return self.graph.floats(&name, &tensor.t()?.contiguous()?);
        }
        let restored = format!("{name}.restored");
        if self.graph.has(&name) {
            return Ok(restored);
        }
        let (outputs, inputs) = tensor.dims2()?;
        let Rounded { values, scales } = Rounded::of(&tensor)?;
        let turned: Vec<i8> =
            (0..inputs * outputs).map(|place| values[place % outputs * inputs + place / outputs]).collect();
        self.graph.bytes(&name, &[inputs, outputs], &turned);
        let scales = Tensor::from_vec(scales, outputs, tensor.device())?;
        let scales = self.graph.floats(&format!("{name}.scale"), &scales)?;
        let zeros = self.graph.bytes(&format!("{name}.zero"), &[outputs], &vec![0; outputs]);
        let axis = [("axis", Constant::Int(1))];
        Ok(self.graph.node(&restored, "DequantizeLinear", &[&name, &scales, &zeros], &axis))
    }

    fn norm(&mut self, at: &str, name: &str, x: &str) -> Result<String> {
        let table = |part: &str| self.parameters.get(&format!("{name}.{part}")).cloned();
        let (weight, bias) = (table("weight")?, table("bias")?);
        let weight = self.graph.floats(&format!("{name}.weight"), &weight)?;
        let bias = self.graph.floats(&format!("{name}.bias"), &bias)?;
        let epsilon = self.config.layer_norm_eps as f32;
        let constants = [("axis", Constant::Int(-1)), ("epsilon", Constant::Float(epsilon))];
        Ok(self.graph.node(at, "LayerNormalization", &[x, &weight, &bias], &constants))
    }

    fn activation(&mut self, at: &str, activation: Activation, x: &str) -> String {
        let graph = &mut self.graph;
        let step = |name: &str| format!("{at}/{name}");
        match activation {
            Activation::Relu => graph.node(at, "Relu", &[x], &[]),
            Activation::Tanh => graph.node(at, "Tanh", &[x], &[]),
            Activation::Gelu => {
                let (root, one, half) =
                    (graph.number("root_2", 2_f32.sqrt()), graph.number("one_float", 1.0), graph.number("half", 0.5));
                let error = graph.node(&step("div"), "Div", &[x, &root], &[]);
                let error = graph.node(&step("erf"), "Erf", &[&error], &[]);
                let error = graph.node(&step("add"), "Add", &[&error, &one], &[]);
                let twice = graph.node(&step("mul"), "Mul", &[x, &error], &[]);
                graph.node(at, "Mul", &[&twice, &half], &[])
            }
            Activation::GeluNew => {
                let (cubic, root) =
                    (graph.number("cubic", 0.044_715), graph.number("root_2_pi", (2.0 / std::f32::consts::PI).sqrt()));
                let (one, half) = (graph.number("one_float", 1.0), graph.number("half", 0.5));
                let square = graph.node(&step("square"), "Mul", &[x, x], &[]);
                let cube = graph.node(&step("cube"), "Mul", &[&square, x], &[]);
                let cube = graph.node(&step("cubic"), "Mul", &[&cube, &cubic], &[]);
                let sum = graph.node(&step("sum"), "Add", &[x, &cube], &[]);
                let sum = graph.node(&step("scaled"), "Mul", &[&sum, &root], &[]);
                let bent = graph.node(&step("tanh"), "Tanh", &[&sum], &[]);
                let bent = graph.node(&step("add"), "Add", &[&bent, &one], &[]);
                let twice = graph.node(&step("mul"), "Mul", &[x, &bent], &[]);
                graph.node(at, "Mul", &[&twice, &half], &[])
            }
        }
    }
}
