//! The rule by which a network goes on, or the linear model that was fitted on the same texts.
//!
//! A network costs a hundred times a linear model, so of equals the linear one goes on, unless a person has chosen the
//! network. A training asks once, with the
//! validation texts: the gate's held-out texts then judge one model only.

use crate::gate::Paired;

/// How probable a clear lead may be by chance alone.
const CHANCE: f64 = 0.05;

/// What a network has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// That it is clearly better (McNemar's exact test): of one from random weights nothing better is expected.
    Better,
    /// That it is not worse: one that a person has chosen to fine-tune is expected to be better.
    NotWorse,
}

/// Which of the two goes on, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub is_network: bool,
    pub reason: String,
}

/// Chooses by which validation texts each model labels right.
///
/// # Panics
/// When they have not answered the same number of texts.
pub(crate) fn choose(network: &[bool], linear: &[bool], proof: Proof) -> Choice {
    let paired = Paired::new(network, linear, None);
    let is_network = match proof {
        Proof::Better => paired.p_better < CHANCE,
        Proof::NotWorse => paired.better >= paired.worse,
    };
    let found = match (proof, is_network) {
        (Proof::Better, true) => "the network is clearly better",
        (Proof::Better, false) => "the network is not clearly better",
        (Proof::NotWorse, true) => "the network is not worse",
        (Proof::NotWorse, false) => "the network is worse",
    };
    let reason = match network.len() {
        0 => "there is no validation text to compare the network and the linear model by".to_owned(),
        texts => format!(
            "{found}: of {texts} validation texts, it alone has {} right and the linear model alone {} (p = {:.3})",
            paired.better, paired.worse, paired.p_better
        ),
    };
    Choice { is_network, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers to 20 texts, of which the network alone has the first ones right and the linear model alone the last.
    fn chosen(network: usize, linear: usize, proof: Proof) -> Choice {
        let right = |wrong: std::ops::Range<usize>| (0..20).map(|text| !wrong.contains(&text)).collect::<Vec<_>>();
        choose(&right(20 - linear..20), &right(0..network), proof)
    }

    #[test]
    fn a_network_from_random_weights_has_to_be_clearly_better() {
        assert!(chosen(5, 0, Proof::Better).is_network, "p = 1/32");
        let choice = chosen(4, 0, Proof::Better);
        assert!(!choice.is_network, "p = 1/16");
        assert_eq!(
            choice.reason,
            "the network is not clearly better: of 20 validation texts, it alone has 4 right and the linear model alone 0 \
             (p = 0.062)"
        );
    }

    #[test]
    fn a_network_that_a_person_has_chosen_has_to_be_no_worse() {
        assert!(chosen(3, 3, Proof::NotWorse).is_network);
        let choice = chosen(2, 3, Proof::NotWorse);
        assert!(!choice.is_network && choice.reason.starts_with("the network is worse"), "{}", choice.reason);
    }

    #[test]
    fn without_a_text_to_compare_by_what_was_expected_goes_on() {
        assert!(!choose(&[], &[], Proof::Better).is_network);
        let choice = choose(&[], &[], Proof::NotWorse);
        assert!(choice.is_network && choice.reason.starts_with("there is no validation text"), "{}", choice.reason);
    }
}
