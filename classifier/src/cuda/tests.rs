//! The kernels and the forward pass on the CPU: the same source, compiled by a C++ compiler.

mod whole;

use std::cell::RefCell;

use bert::{Activation, Classes, Family, ModelConfig, Pooling, Reference, TokenBatch, initialise};
use gpu::Argument::{Count, Memory, Number};
use gpu::{Chip, Emulator, Grid, Numbers};
use half::bf16;

use super::forward::{Bert, kernels, suits};

fn config(hidden_size: usize) -> ModelConfig {
    ModelConfig {
        hidden_size,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 104,
        max_position_embeddings: 70,
        initializer_range: 0.12,
        layer_norm_eps: 1e-5,
        ..ModelConfig::small(50, Classes::new(["a", "b", "c"]))
    }
}

/// One token, less and more than a warp's queries and a block's, a tile of keys and one more,
/// several tiles.
const LENGTHS: [usize; 7] = [1, 5, 17, 32, 70, 33, 2];

fn batch() -> TokenBatch {
    let text = |(number, length): (usize, &usize)| {
        (0..*length).map(|token| ((token * 31 + number * 17) % 50) as u32).collect::<Vec<u32>>()
    };
    TokenBatch::new(&LENGTHS.iter().enumerate().map(text).collect::<Vec<_>>())
}

/// An emulator in both orders of turns.
fn in_both_orders(config: &ModelConfig, check: impl Fn(&Emulator)) {
    let Some(mut emulator) = Emulator::new(&kernels(config)) else { return };
    for is_reversed in [false, true] {
        emulator.is_reversed = is_reversed;
        check(&emulator);
    }
}

/// Numbers between -2 and 2 that bf16 has, other ones for each seed.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |index: usize| ((index * 7919 + seed * 104_729) % 4_001) as f32 / 1_000.0 - 2.0;
    (0..count).map(|index| bf16::from_f32(number(index)).to_f32()).collect()
}

fn halves(numbers: &[f32]) -> RefCell<Numbers> {
    RefCell::new(Numbers::Halves(numbers.iter().map(|number| bf16::from_f32(*number)).collect()))
}

fn floats(numbers: &[f32]) -> RefCell<Numbers> {
    RefCell::new(Numbers::Floats(numbers.to_vec()))
}

fn words(words: &[usize]) -> RefCell<Numbers> {
    RefCell::new(Numbers::Words(words.iter().map(|word| *word as u32).collect()))
}

fn grid(blocks: usize, threads: usize) -> Grid {
    Grid { blocks: (blocks, 1), threads }
}

/// A warp a row, in blocks of two.
fn rows(count: usize) -> Grid {
    grid(count.div_ceil(2), 64)
}

/// As close as bf16 is.
fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= 0.003 + 0.005 * expected.abs(), "{what}, {index}: {found}, expected {expected}");
    }
}

fn normalised(row: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let mean = row.iter().sum::<f32>() / row.len() as f32;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / row.len() as f32;
    let affine = weight.iter().zip(bias);
    row.iter().zip(affine).map(|(x, (weight, bias))| (x - mean) / (variance + 1e-5).sqrt() * weight + bias).collect()
}

fn sum(one: &[f32], other: &[f32]) -> Vec<f32> {
    one.iter().zip(other).map(|(one, other)| one + other).collect()
}

fn product(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - greatest).exp()).collect();
    powers.iter().map(|power| power / powers.iter().sum::<f32>()).collect()
}

/// Rows weighted and added up.
fn mix<'a>(shares: &[f32], rows: impl Iterator<Item = &'a [f32]>) -> Vec<f32> {
    let weighted = shares.iter().zip(rows).map(|(share, row)| row.iter().map(|x| share * x).collect::<Vec<f32>>());
    weighted.reduce(|mixed, row| sum(&mixed, &row)).unwrap()
}

#[test]
fn kernels_give_what_their_formulas_do() {
    // Rows of less than a warp and of more; heads of less than a warp's pairs and of more.
    for width in [48, 384] {
        in_both_orders(&config(width), |emulator| {
            embeddings_and_norms(emulator, width);
            attention(emulator, width);
            pooling(emulator, width);
            gelu(emulator);
        });
    }
}

fn embeddings_and_norms(emulator: &Emulator, width: usize) {
    let (weight, bias) = (numbers(width, 1), numbers(width, 2));
    let (table, places) = (numbers(20 * width, 3), numbers(4 * width, 4));
    let row = |table: &[f32], number: usize| table[number * width..(number + 1) * width].to_vec();
    let (ids, positions) = ([7, 0, 19], [0, 1, 3]);
    let hidden = halves(&vec![0.0; 3 * width]);
    let (weight_memory, bias_memory) = (floats(&weight), floats(&bias));
    emulator
        .launch(
            "embed",
            rows(3),
            &[
                Memory(&words(&[ids, positions].concat())),
                Count(3),
                Memory(&halves(&table)),
                Memory(&halves(&places)),
                Memory(&weight_memory),
                Memory(&bias_memory),
                Number(1e-5),
                Memory(&hidden),
            ],
        )
        .unwrap();
    let expected = ids
        .iter()
        .zip(positions)
        .flat_map(|(id, position)| normalised(&sum(&row(&table, *id), &row(&places, position)), &weight, &bias));
    assert_close("embed", &hidden.borrow().halves(), &expected.collect::<Vec<_>>());

    let (before, branch) = (hidden.borrow().halves(), numbers(3 * width, 5));
    emulator
        .launch(
            "add_norm",
            rows(3),
            &[
                Memory(&halves(&branch)),
                Count(2),
                Memory(&weight_memory),
                Memory(&bias_memory),
                Number(1e-5),
                Memory(&hidden),
            ],
        )
        .unwrap();
    let normal = |number| normalised(&sum(&row(&before, number), &row(&branch, number)), &weight, &bias);
    // Only the two rows that it was told of.
    assert_close("add_norm", &hidden.borrow().halves(), &[normal(0), normal(1), row(&before, 2)].concat());
}

fn attention(emulator: &Emulator, width: usize) {
    let (texts, heads) = (batch(), 3);
    let starts = texts.starts().to_vec();
    let (tokens, size) = (batch().tokens(), width / heads);
    let projected = numbers(tokens * 3 * width, 6);
    // Part `part` (0 queries, 1 keys, 2 values) of a head of a token.
    let vector = |token: usize, part: usize, head: usize| {
        let from = token * 3 * width + part * width + head * size;
        &projected[from..from + size]
    };
    let expected = |token: usize, text: std::ops::Range<usize>| -> Vec<f32> {
        let head = |head| {
            let scores = text.clone().map(|key| product(vector(token, 0, head), vector(key, 1, head)));
            let scores: Vec<f32> = scores.map(|score| score / (size as f32).sqrt()).collect();
            mix(&softmax(&scores), text.clone().map(|key| vector(key, 2, head)))
        };
        (0..heads).flat_map(head).collect()
    };
    let run = |queries: &RefCell<Numbers>, query_stride, memory: &RefCell<Numbers>, stride, keys, first, rows| {
        let context = halves(&vec![0.0; rows * width]);
        let launched = emulator.launch(
            "attention",
            gpu::attention(starts.len() - 1, heads, 70),
            &[
                Memory(queries),
                Count(query_stride),
                Memory(memory),
                Count(stride),
                Count(keys),
                // Behind a word of something else.
                Memory(&words(&[vec![9], starts.clone()].concat())),
                Count(1),
                Count(first),
                Count(heads),
                Memory(&context),
            ],
        );
        launched.unwrap();
        context.borrow().halves()
    };
    let memory = halves(&projected);
    let found = run(&memory, 3 * width, &memory, 3 * width, width, 0, tokens);
    let all = texts.ranges().flat_map(|text| text.clone().flat_map(move |token| expected(token, text.clone())));
    assert_close("attention", &found, &all.collect::<Vec<_>>());

    let queries = texts.ranges().flat_map(|text| projected[text.start * 3 * width..][..width].to_vec());
    let memory = projected.chunks_exact(3 * width).flat_map(|row| row[width..].to_vec()).collect::<Vec<_>>();
    let queries = halves(&queries.collect::<Vec<_>>());
    let found = run(&queries, width, &halves(&memory), 2 * width, 0, 1, LENGTHS.len());
    let first = texts.ranges().flat_map(|text| expected(text.start, text));
    assert_close("attention of first tokens", &found, &first.collect::<Vec<_>>());
}

fn pooling(emulator: &Emulator, width: usize) {
    let (tokens, texts) = (batch().tokens(), batch().texts());
    let hidden = numbers(tokens * width, 7);
    let row = |token: usize| &hidden[token * width..(token + 1) * width];
    let query: Vec<f32> = numbers(width, 8).iter().map(|x| x / width as f32).collect();
    let (memory, starts) = (halves(&hidden), words(batch().starts()));
    let (out, scores) = (halves(&vec![0.0; texts * width]), floats(&vec![0.0; tokens]));
    let each = |expected: &dyn Fn(std::ops::Range<usize>) -> Vec<f32>| -> Vec<f32> {
        batch().ranges().flat_map(expected).collect()
    };

    let places = [Memory(&memory), Memory(&starts), Count(0), Count(texts), Memory(&out)];
    emulator.launch("first_rows", rows(texts), &places).unwrap();
    assert_close("first_rows", &out.borrow().halves(), &each(&|text| row(text.start).to_vec()));

    let places = [Memory(&memory), Memory(&starts), Count(0), Memory(&out)];
    emulator.launch("greatest_rows", grid(texts, 64), &places).unwrap();
    let greatest = |text: std::ops::Range<usize>| {
        (0..width).map(|column| text.clone().map(|token| row(token)[column]).fold(f32::MIN, f32::max)).collect()
    };
    assert_close("greatest_rows", &out.borrow().halves(), &each(&greatest));

    let places = [Memory(&memory), Memory(&floats(&query)), Count(tokens), Memory(&scores)];
    emulator.launch("score", rows(tokens), &places).unwrap();
    let expected: Vec<f32> = (0..tokens).map(|token| product(row(token), &query)).collect();
    assert_close("score", &emulator.fetch(&scores, tokens).unwrap(), &expected);

    let places = [Memory(&memory), Memory(&scores), Memory(&starts), Count(0), Memory(&out)];
    emulator.launch("weighted_mean", grid(texts, 64), &places).unwrap();
    let mean = |text: std::ops::Range<usize>| mix(&softmax(&expected[text.clone()]), text.map(row));
    assert_close("weighted_mean", &out.borrow().halves(), &each(&mean));

    let (weight, bias, logits) = (numbers(2 * width, 9), [0.5, -0.25], floats(&[9.0; 8]));
    for (bend, apply) in [(0, (|x| x) as fn(f32) -> f32), (1, f32::tanh)] {
        let (weight_memory, bias_memory) = (floats(&weight), floats(&bias));
        let sizes = [Count(2), Count(2), Count(1), Memory(&logits)];
        let weights = [Memory(&memory), Count(bend), Memory(&weight_memory), Memory(&bias_memory)];
        emulator.launch("head", rows(2), &weights.into_iter().chain(sizes).collect::<Vec<_>>()).unwrap();
        let logit = |text: usize, label: usize| {
            let bent: Vec<f32> = row(text).iter().map(|x| apply(*x)).collect();
            product(&bent, &weight[label * width..(label + 1) * width]) + bias[label]
        };
        let expected = [9.0, 9.0, logit(0, 0), logit(0, 1), logit(1, 0), logit(1, 1), 9.0, 9.0];
        assert_close("head", &emulator.fetch(&logits, 8).unwrap(), &expected);
    }
}

fn gelu(emulator: &Emulator) {
    let x: Vec<f32> = numbers(3_000, 10).iter().map(|x| 3.0 * x).collect();
    let memory = halves(&x);
    emulator.launch("gelu", grid(2, 256), &[Memory(&memory), Count(375)]).unwrap();
    let x = halves(&x).borrow().halves();
    // Φ by the series of the error function, which converges everywhere.
    let normal = |x: f64| {
        let mut term = x / std::f64::consts::TAU.sqrt();
        let mut sum = 0.5 + term;
        for step in 1..80 {
            term *= -x * x / 2.0 / f64::from(step);
            sum += term / f64::from(2 * step + 1);
        }
        sum
    };
    let expected: Vec<f32> = x.iter().map(|x| x * normal(f64::from(*x)) as f32).collect();
    assert_close("gelu", &memory.borrow().halves(), &expected);
}

#[test]
fn a_kernel_that_leaves_its_memory_or_gets_other_arguments_is_noticed() {
    in_both_orders(&config(48), |emulator| {
        let (memory, others) = (halves(&[1.0; 64]), floats(&[1.0; 64]));
        let error =
            |count, arguments: &[_]| emulator.launch("gelu", grid(count, 32), arguments).unwrap_err().to_string();
        emulator.launch("gelu", grid(1, 32), &[Memory(&memory), Count(8)]).unwrap();
        assert!(error(100, &[Memory(&memory), Count(3_200)]).contains("signal"));
        assert!(error(1, &[Memory(&others), Count(8)]).contains("another kind"));
        assert!(error(1, &[Memory(&memory), Number(8.0)]).contains("another kind of number"));
        assert!(error(1, &[Memory(&memory)]).contains("another number of arguments"));
    });
}
