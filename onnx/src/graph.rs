//! A graph under construction.

use anyhow::Result;
use candle_core::{DType, Tensor};

use crate::proto::{
    Attribute, Dimension, FLOAT, Graph, INT8, INT64, Node, Shape, Size, TensorProto, TensorType, Type, Value,
};

/// The operators' release: the first with LayerNormalization.
pub(crate) const OPSET: i64 = 17;

/// A graph, node by node. A value is known by its name.
#[derive(Default)]
pub(crate) struct Builder {
    graph: Graph,
}

/// A constant of a node.
pub(crate) enum Constant {
    Float(f32),
    Int(i64),
    Ints(Vec<i64>),
}

impl Builder {
    /// Something that is given at each call, whose sizes have names or are fixed.
    pub fn input(&mut self, name: &str, kind: i32, sizes: &[&str]) -> String {
        self.graph.input.push(value(name, kind, sizes));
        name.to_owned()
    }

    /// Makes a node's value what comes out.
    pub fn output(&mut self, from: &str, name: &str, sizes: &[&str]) {
        self.graph.node.push(Node {
            input: vec![from.to_owned()],
            output: vec![name.to_owned()],
            name: format!("/{name}"),
            op_type: "Identity".to_owned(),
            attribute: Vec::new(),
        });
        self.graph.output.push(value(name, FLOAT, sizes));
    }

    /// Adds a node, whose value has its name.
    pub fn node(&mut self, name: &str, operator: &str, inputs: &[&str], constants: &[(&str, Constant)]) -> String {
        let attribute = |(name, constant): &(&str, Constant)| {
            let plain = Attribute { name: (*name).to_owned(), ..Attribute::default() };
            match constant {
                Constant::Float(f) => Attribute { f: *f, kind: 1, ..plain },
                Constant::Int(i) => Attribute { i: *i, kind: 2, ..plain },
                Constant::Ints(ints) => Attribute { ints: ints.clone(), kind: 7, ..plain },
            }
        };
        self.graph.node.push(Node {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![name.to_owned()],
            name: format!("/{name}/{operator}"),
            op_type: operator.to_owned(),
            attribute: constants.iter().map(attribute).collect(),
        });
        name.to_owned()
    }

    /// A table of numbers; the same name again is the same table.
    pub fn floats(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(self.raw(name, FLOAT, tensor.dims(), bytes))
    }

    /// Whole numbers of 8 bits.
    pub fn bytes(&mut self, name: &str, sizes: &[usize], values: &[i8]) -> String {
        self.raw(name, INT8, sizes, values.iter().map(|value| value.to_le_bytes()[0]).collect())
    }

    /// Whole numbers, in a row or alone.
    pub fn ints(&mut self, name: &str, values: &[i64], is_alone: bool) -> String {
        let sizes: &[usize] = if is_alone { &[] } else { &[values.len()] };
        self.raw(name, INT64, sizes, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// One number.
    pub fn number(&mut self, name: &str, value: f32) -> String {
        self.raw(name, FLOAT, &[], value.to_le_bytes().to_vec())
    }

    /// Whether a table of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.graph.initializer.iter().any(|tensor| tensor.name == name)
    }

    /// `x` as numbers of another kind.
    pub fn cast(&mut self, name: &str, x: &str, kind: i32) -> String {
        self.node(name, "Cast", &[x], &[("to", Constant::Int(kind.into()))])
    }

    /// The whole.
    pub fn finish(self, name: &str) -> Graph {
        Graph { name: name.to_owned(), ..self.graph }
    }

    fn raw(&mut self, name: &str, data_type: i32, sizes: &[usize], raw_data: Vec<u8>) -> String {
        if !self.has(name) {
            let dims = sizes.iter().map(|size| *size as i64).collect();
            let tensor = TensorProto { dims, data_type, name: name.to_owned(), raw_data, ..TensorProto::default() };
            self.graph.initializer.push(tensor);
        }
        name.to_owned()
    }
}

fn value(name: &str, kind: i32, sizes: &[&str]) -> Value {
    let size = |size: &&str| match size.parse() {
        Ok(fixed) => Size::Fixed(fixed),
        Err(_) => Size::Named((*size).to_owned()),
    };
    let dim = sizes.iter().map(|one| Dimension { size: Some(size(one)) }).collect();
    let tensor_type = TensorType { elem_type: kind, shape: Some(Shape { dim }) };
    Value { name: name.to_owned(), r#type: Some(Type { tensor_type: Some(tensor_type) }) }
}
