//! Every fused operation against its composed reference, forward and backward, and the reference against finite differences.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};

use super::graph::{activate, add_norm, attention, dropout, linear, lookup, lookup_positions};
use super::{Mask, Texts, attention_pool, composed, max_pool, mean_pool};
use crate::model::Activation;

/// Numbers of either sign, the same for the same key.
fn variable(key: u64, shape: &[usize]) -> Var {
    let count = shape.iter().product::<usize>() as u64;
    let value = |element: u64| {
        let mut z = (element + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 40) as f32 / 2f32.powi(23) - 1.0
    };
    Var::from_vec((0..count).map(value).collect(), shape, &Device::Cpu).unwrap()
}

/// The sum of an operation's results, each with its own weight, so that no two gradients are alike.
fn weighted_sum(result: &Tensor) -> Result<Tensor> {
    (result * variable(99, result.dims()).as_tensor())?.sum_all()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(1.0_f32, |scale, value| scale.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= tolerance * scale, "{what} at {index}: {found}, expected {expected}");
    }
}

/// Checks result and gradients of a fused operation against the composed one, and those of the composed one against
/// differences of its own results.
fn check(
    operands: &[Var],
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    composed: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let tensors: Vec<Tensor> = operands.iter().map(|operand| operand.as_tensor().clone()).collect();
    let (found, expected) = (fused(&tensors).unwrap(), composed(&tensors).unwrap());
    assert_close("result", &found, &expected, 1e-5);
    let found = weighted_sum(&found).unwrap().backward().unwrap();
    let expected = weighted_sum(&expected).unwrap().backward().unwrap();
    for (number, operand) in operands.iter().enumerate() {
        let gradient = found.get(operand).unwrap_or_else(|| panic!("no gradient of operand {number}"));
        assert_close(&format!("gradient of operand {number}"), gradient, expected.get(operand).unwrap(), 2e-5);
        differences(operands, number, gradient, &composed);
    }
}

/// Compares some entries of a gradient with central differences.
fn differences(operands: &[Var], number: usize, gradient: &Tensor, operation: &impl Fn(&[Tensor]) -> Result<Tensor>) {
    const STEP: f32 = 1e-2;
    let (shape, start, gradient) = (operands[number].dims(), values(&operands[number]), values(gradient));
    for element in (0..start.len()).step_by(start.len().div_ceil(7)) {
        let sum_at = |offset: f32| {
            let mut tensors: Vec<Tensor> = operands.iter().map(|operand| operand.as_detached_tensor()).collect();
            let mut moved = start.clone();
            moved[element] += offset;
            tensors[number] = Tensor::from_vec(moved, shape, &Device::Cpu).unwrap();
            let result = operation(&tensors).unwrap().to_dtype(candle_core::DType::F64).unwrap();
            let weights = variable(99, result.dims()).to_dtype(candle_core::DType::F64).unwrap();
            (result * weights).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let slope = ((sum_at(STEP) - sum_at(-STEP)) / f64::from(2.0 * STEP)) as f32;
        let tolerance = 5e-3 * (1.0 + slope.abs());
        assert!(
            (slope - gradient[element]).abs() < tolerance,
            "operand {number} at {element}: {}, slope {slope}",
            gradient[element]
        );
    }
}

fn mask() -> Option<Mask> {
    Some(Mask::new(0x1234_5678_9abc_def0, 0.3))
}

/// Texts of all kinds of lengths: one token, less and more than a vector register, more than two.
fn texts(padded: bool) -> Texts {
    let starts: Arc<[usize]> = [0, 1, 6, 23, 60, 62].into();
    if padded { Texts::padded(&starts, &Device::Cpu).unwrap() } else { Texts::new(&starts) }
}

#[test]
fn linear_agrees_with_its_reference() {
    for (rows, inputs, outputs) in [(1, 3, 2), (37, 32, 19), (5, 64, 128)] {
        let operands = [variable(1, &[rows, inputs]), variable(2, &[outputs, inputs]), variable(3, &[outputs])];
        check(&operands, |t| linear(&t[0], &t[1], &t[2]), |t| composed::linear(&t[0], &t[1], &t[2]));
    }
}

#[test]
fn activations_agree_with_their_references() {
    for activation in [Activation::Gelu, Activation::GeluNew, Activation::Relu] {
        let spread = |t: &Tensor| t * 3.0;
        check(
            &[variable(4, &[13, 21])],
            |t| activate(&spread(&t[0])?, activation),
            |t| composed::activate(&spread(&t[0])?, activation),
        );
    }
}

#[test]
fn dropout_agrees_with_its_reference() {
    let mask = mask().unwrap();
    check(&[variable(5, &[13, 21])], |t| dropout(&t[0], Some(mask)), |t| composed::dropout(&t[0], mask));
}

#[test]
fn add_norm_agrees_with_its_reference_with_and_without_dropout() {
    for mask in [None, mask()] {
        for width in [8, 32, 50] {
            let operands = [variable(6, &[9, width]), variable(7, &[9, width]), variable(8, &[2, width])];
            check(
                &operands,
                |t| add_norm(&t[0], &t[1], &t[2], 1e-5, mask),
                |t| composed::add_norm(&t[0], &t[1], &t[2], 1e-5, mask),
            );
        }
    }
}

#[test]
fn attention_agrees_with_its_padded_reference_with_and_without_dropout() {
    for mask in [None, mask()] {
        for heads in [1, 4] {
            let operands = [variable(9, &[62, 24]), variable(10, &[62, 24]), variable(11, &[62, 24])];
            check(
                &operands,
                |t| attention(&t[0], &t[1], &t[2], &texts(false), heads, mask),
                |t| attention(&t[0], &t[1], &t[2], &texts(true), heads, mask),
            );
        }
    }
}

#[test]
fn pooling_agrees_with_its_padded_references() {
    for width in [5, 24] {
        let rows = variable(19, &[62, width]);
        check(std::slice::from_ref(&rows), |t| mean_pool(&t[0], &texts(false)), |t| mean_pool(&t[0], &texts(true)));
        check(std::slice::from_ref(&rows), |t| max_pool(&t[0], &texts(false)), |t| max_pool(&t[0], &texts(true)));
        check(
            &[rows, variable(20, &[1, width])],
            |t| attention_pool(&t[0], &t[1], &texts(false)),
            |t| attention_pool(&t[0], &t[1], &texts(true)),
        );
    }
}

/// ```python
/// import torch
/// x = torch.tensor([[1., 2.], [3., -1.], [0., 5.]], requires_grad=True); q = torch.tensor([0.5, -1.], requires_grad=True)
/// p = torch.softmax(x @ q, 0); y = p @ x; (y * torch.tensor([1., 2.])).sum().backward(); print(y, x.grad, q.grad)
/// ```
#[test]
fn attention_pooling_is_that_of_torch() {
    let rows = Var::new(&[[1.0f32, 2.0], [3.0, -1.0], [0.0, 5.0]], &Device::Cpu).unwrap();
    let query = Var::new(&[[0.5f32, -1.0]], &Device::Cpu).unwrap();
    let one = Texts::new(&[0, 3].into());
    let pooled = attention_pool(&rows, &query, &one).unwrap();
    let weights = Tensor::new(&[[1.0f32, 2.0]], &Device::Cpu).unwrap();
    let gradients = (&pooled * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let close = |tensor: &Tensor, expected: &[f32]| {
        let found = values(tensor);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
    };
    close(&pooled, &[2.96242, -0.94281]);
    close(gradients.get(&rows).unwrap(), &[0.05324, -0.03457, 0.9438, 2.03833, 0.00296, -0.00376]);
    close(gradients.get(&query).unwrap(), &[-0.15558, 0.24064]);
}

#[test]
fn lookups_agree_with_their_references() {
    let rows: Arc<[u32]> = [3, 0, 3, 6, 3].into();
    check(&[variable(12, &[7, 18])], |t| lookup(&t[0], &rows), |t| composed::lookup(&t[0], &rows));
    let operands = [variable(13, &[40, 18]), variable(14, &[2, 18])];
    let positions = texts(false).positions();
    check(
        &operands,
        |t| lookup_positions(&t[0], &t[1], &texts(false)),
        |t| composed::lookup_positions(&t[0], &t[1], &positions),
    );
}

#[test]
fn a_row_that_a_table_does_not_have_is_an_error() {
    let table = variable(15, &[4, 8]);
    let error = lookup(&table, &[1, 4].into()).unwrap_err().to_string();
    assert!(error.contains("row 4 of a table with 4 rows"), "{error}");
    let error =
        lookup_positions(&variable(16, &[36, 8]), &variable(17, &[2, 8]), &texts(false)).unwrap_err().to_string();
    assert!(error.contains("a text of 37 tokens is too long for a model with 36 positions"), "{error}");
}

#[test]
fn a_nan_in_one_text_stays_in_that_text() {
    let mut numbers = values(&variable(18, &[62, 8]));
    numbers[30 * 8] = f32::NAN;
    let x = Tensor::from_vec(numbers, (62, 8), &Device::Cpu).unwrap();
    let context = values(&attention(&x, &x, &x, &texts(false), 2, None).unwrap());
    let poisoned = |token: usize| context[token * 8..][..8].iter().any(|value| value.is_nan());
    assert!((23..60).any(poisoned));
    assert!(!(0..23).chain(60..62).any(poisoned));
}
