//! Which layer a parameter belongs to, and what follows from it: what is frozen, and how fast the
//! rest learns.

/// The depth of a parameter in a model with so many encoder layers: 0 the embeddings, 1 to `layers`
/// the encoder, and one more for all above it: pooling and classification.
pub(crate) fn depth(name: &str, layers: usize) -> usize {
    if name.starts_with("bert.embeddings.") {
        return 0;
    }
    let number =
        name.strip_prefix("bert.encoder.layer.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    number.map_or(layers + 1, |number| number + 1)
}

/// Whether a parameter stays as it is: the first `frozen` layers do, and with them the embeddings;
/// the head never.
pub(crate) fn is_frozen(name: &str, layers: usize, frozen: Option<usize>) -> bool {
    frozen.is_some_and(|frozen| depth(name, layers) <= frozen.min(layers))
}

/// The learning rate of a parameter as a share of the head's: `decay` to the power of its distance
/// from the head, as ELECTRA (Clark and others, 2020) fine-tunes. What a layer near the input knows
/// is general, and better kept.
pub(crate) fn rate(name: &str, layers: usize, decay: f64) -> f64 {
    decay.powi((layers + 1 - depth(name, layers)) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMBEDDING: &str = "bert.embeddings.word_embeddings.weight";
    const FIRST: &str = "bert.encoder.layer.0.attention.self.query.weight";
    const ELEVENTH: &str = "bert.encoder.layer.10.output.dense.bias";

    #[test]
    fn each_layer_learns_at_a_share_of_the_rate_of_the_one_above_it() {
        let rates = [EMBEDDING, FIRST, ELEVENTH, "bert.pooler.dense.weight", "classifier.bias"];
        assert_eq!(rates.map(|name| rate(name, 11, 0.5)), [0.5f64.powi(12), 0.5f64.powi(11), 0.5, 1.0, 1.0]);
        assert_eq!(rates.map(|name| rate(name, 11, 1.0)), [1.0; 5]);
    }

    #[test]
    fn the_embeddings_freeze_first_and_the_head_never() {
        let frozen = |layers| [EMBEDDING, FIRST, ELEVENTH, "classifier.weight"].map(|name| is_frozen(name, 11, layers));
        assert_eq!(frozen(None), [false; 4]);
        assert_eq!(frozen(Some(0)), [true, false, false, false]);
        assert_eq!(frozen(Some(1)), [true, true, false, false]);
        assert_eq!(frozen(Some(11)), [true, true, true, false]);
        assert_eq!(frozen(Some(99)), frozen(Some(11)));
    }
}
