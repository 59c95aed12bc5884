//! The graph of a linear model.
//!
//! Its features are hashes of n-grams, which a graph cannot make of a text: it is given which
//! features a text has, and how often.

use anyhow::Result;
use candle_core::{Device, Tensor};
use classifier::linear::LinearModel;

use crate::graph::{Builder, Constant};
use crate::proto::{FLOAT, INT64};

/// The whole graph: `features` (batch, entries), the places of a text's n-grams among those that the
/// model knows, each once and filled up with any, and `counts` (batch, entries), how often each
/// occurs and 0 for what fills up, to `logits` (batch, classes).
pub(crate) fn linear(model: &LinearModel) -> Result<Builder> {
    let mut graph = Builder::default();
    let (classes, features) = (model.classes().len(), model.weights().features.len());
    let table = |values: &[f32], sizes: &[usize]| Tensor::from_slice(values, sizes, &Device::Cpu);
    let weights = model.weights();
    let idf = graph.floats("idf", &table(&weights.idf, &[features])?)?;
    let weight = graph.floats("weight", &table(&weights.weight, &[features, classes])?)?;
    let bias = graph.floats("bias", &table(&weights.bias, &[classes])?)?;
    let places = graph.input("features", INT64, &["batch", "entries"]);
    let counts = graph.input("counts", FLOAT, &["batch", "entries"]);

    // (1 + ln count) · idf, and nothing where nothing is counted.
    let (zero, one) = (graph.number("zero", 0.0), graph.number("one", 1.0));
    let is_there = graph.node("is_there", "Greater", &[&counts, &zero], &[]);
    let counted = graph.node("counted", "Max", &[&counts, &one], &[]);
    let logarithm = graph.node("logarithm", "Log", &[&counted], &[]);
    let frequency = graph.node("frequency", "Add", &[&logarithm, &one], &[]);
    let idf = graph.node("idf/gathered", "Gather", &[&idf, &places], &[("axis", Constant::Int(0))]);
    let value = graph.node("value/any", "Mul", &[&frequency, &idf], &[]);
    let value = graph.node("value", "Where", &[&is_there, &value, &zero], &[]);

    // The sums of each class's weights, as if the values had length 1.
    let last = graph.ints("last_axis", &[-1], false);
    let gathered = graph.node("weight/gathered", "Gather", &[&weight, &places], &[("axis", Constant::Int(0))]);
    let column = graph.node("value/column", "Unsqueeze", &[&value, &last], &[]);
    let weighed = graph.node("weighed", "Mul", &[&gathered, &column], &[]);
    let entries = graph.ints("entries_axis", &[1], false);
    let sums = graph.node("sums", "ReduceSum", &[&weighed, &entries], &[("keepdims", Constant::Int(0))]);
    let squares = graph.node("squares", "Mul", &[&value, &value], &[]);
    let squares = graph.node("squares/sum", "ReduceSum", &[&squares, &last], &[]);
    let length = graph.node("length", "Sqrt", &[&squares], &[]);
    let is_empty = graph.node("is_empty", "Equal", &[&length, &zero], &[]);
    let length = graph.node("length/or_one", "Where", &[&is_empty, &one, &length], &[]);
    let scaled = graph.node("scaled", "Div", &[&sums, &length], &[]);
    let logits = graph.node("sums/biased", "Add", &[&scaled, &bias], &[]);
    graph.output(&logits, "logits", &["batch", &classes.to_string()]);
    Ok(graph)
}
