//! The whole forward pass, as it is and with broken kernels.

use super::*;

#[test]
fn logits_are_those_of_the_reference_as_far_as_bf16_goes() {
    let Some(mut emulator) = Emulator::new(&kernels(&config(48))) else { return };
    forward(|_| {
        emulator.is_reversed = !emulator.is_reversed;
        emulator.clone()
    });
}

#[test]
fn kernels_that_are_broken_give_other_logits_or_none() {
    let config = config(48);
    let parameters = initialise(&config, 5).unwrap();
    let expected = Reference::new(&config, &parameters).unwrap().forward(&batch(), None).unwrap();
    let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
    for (piece, by) in [
        // A wrong stride.
        ("values + (long long)(key + row) * stride", "values + (long long)(key + row) * WIDTH"),
        // Two arguments in each other's place.
        (
            "const Half* branch, int rows, const float* weight, const float* bias",
            "const Half* branch, int rows, const float* bias, const float* weight",
        ),
        // Values read where the keys are.
        ("const Half* values = keys + WIDTH;", "const Half* values = keys;"),
        // Keys that the second half of a tensor core's product takes from the first.
        ("16 * step + 8 * half + 2 * pair", "16 * step + 2 * pair"),
    ] {
        let Some(emulator) = Emulator::new(&kernels(&config).broken(piece, by)) else { return };
        let mut bert = Bert::new(emulator, &config, &parameters, batch().tokens()).unwrap();
        let Ok(found) = bert.forward(LENGTHS.len(), std::iter::once(batch())) else { continue };
        let mut pairs = found.iter().flatten().zip(&expected);
        let is_same = pairs.all(|(found, expected)| (found - expected).abs() <= 2e-2);
        assert!(!is_same, "{piece}: nobody notices");
    }
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU"]
fn a_gpu_gives_the_logits_of_the_reference_as_far_as_bf16_goes() {
    let device = candle_core::Device::new_cuda(0).unwrap();
    forward(|config| gpu::Gpu::new(device.as_cuda_device().unwrap(), &kernels(config)).unwrap());
}

fn forward<C: Chip>(mut chip: impl FnMut(&ModelConfig) -> C) {
    let cases = [
        (Pooling::Cls, Activation::Gelu, 2),
        (Pooling::Cls, Activation::Relu, 1),
        (Pooling::Mean, Activation::GeluNew, 1),
        (Pooling::Max, Activation::Gelu, 1),
        (Pooling::Attention, Activation::Gelu, 2),
    ];
    let mut configs = Vec::new();
    for (pooling, hidden_act, num_hidden_layers) in cases {
        let config = ModelConfig { pooling, hidden_act, num_hidden_layers, ..config(48) };
        configs.push(config);
    }
    // BERT's relatives, as far as the kernels can do them.
    let positions = 79;
    configs.push(ModelConfig { padding: Some(8), max_position_embeddings: positions, ..config(48) });
    configs.push(ModelConfig { task_type_vocab_size: 3, head_activation: Activation::Gelu, ..config(48) });
    configs.push(ModelConfig { type_vocab_size: 0, head_activation: Activation::Relu, ..config(48) });
    for config in configs {
        let (pooling, hidden_act) = (config.pooling, config.hidden_act);
        let parameters = initialise(&config, 5).unwrap();
        let reference = Reference::new(&config, &parameters).unwrap();
        let expected: Vec<Vec<f32>> = reference.forward(&batch(), None).unwrap().to_vec2().unwrap();

        let mut bert = Bert::new(chip(&config), &config, &parameters, batch().tokens()).unwrap();
        // Batches of other sizes before and after, and one call after another.
        let ids = |range: std::ops::Range<usize>| TokenBatch::new(&[&batch().ids()[range]]);
        let found = bert.forward(LENGTHS.len() + 2, [ids(1..6), batch(), ids(1..6)].into_iter()).unwrap();
        let all = [&expected[1..2], &expected, &expected[1..2]].concat();
        assert_eq!(found.len(), LENGTHS.len() + 2);
        let pairs = || found.iter().flatten().zip(all.iter().flatten());
        let greatest = pairs().map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
        println!("{pooling:?} {hidden_act:?}: greatest difference {greatest}");
        assert!(greatest < 2e-2, "{pooling:?}, {hidden_act:?}: {greatest}");
        let spread =
            expected.iter().flatten().fold(0.0, |spread: f32, logit| spread.max((logit - expected[0][0]).abs()));
        assert!(spread > 0.1, "the texts are too much alike to tell anything: {spread}");
        assert_eq!(bert.forward(1, std::iter::once(ids(1..6))).unwrap(), found[..1]);
        assert!(bert.forward(0, std::iter::empty()).unwrap().is_empty());

        let mut error =
            |text: &[u32]| bert.forward(1, std::iter::once(TokenBatch::new(&[text]))).unwrap_err().to_string();
        assert!(error(&[1, 50]).contains("row 50 of a table with 50 rows"));
        assert!(error(&[1; 71]).contains("a text of 71 tokens is too long for a model with 70 positions"));
    }
}

#[test]
fn sizes_that_the_kernels_cannot_do_are_known() {
    assert!(suits(&config(48)));
    assert!(!suits(&config(60)), "heads of 20");
    assert!(!suits(&config(480)), "heads of 160");
    assert!(!suits(&ModelConfig { intermediate_size: 100, ..config(48) }));
    assert!(!suits(&ModelConfig { num_hidden_layers: 0, ..config(48) }));
    assert!(!suits(&ModelConfig { embedding_size: Some(24), ..config(48) }));
    assert!(!suits(&ModelConfig { family: Family::MegatronBert, ..config(48) }));
}

#[test]
fn the_kernels_compile_for_every_gpu_without_a_spill() {
    let sizes = [(256, 64), (384, 32), (512, 64), (768, 64), (1024, 64), (264, 88), (384, 128)];
    let of = |(width, head_size)| kernels(&ModelConfig { num_attention_heads: width / head_size, ..config(width) });
    gpu::assert_compile(&sizes.map(of));
}
