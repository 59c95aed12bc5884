//! The rule by which one model goes on, or another that was fitted on the same texts.
//!
//! A network costs a hundred times a linear model, so of equals the linear one goes on, unless a
//! person has chosen the network. A training asks with texts that neither was fitted on, and not
//! with the gate's: those then judge one model only.

use crate::gate::Paired;

/// How probable a clear lead may be by chance alone.
const CHANCE: f64 = 0.05;

/// What the one that may take over has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// That it is clearly better (McNemar's exact test): of one from random weights nothing better
    /// is expected.
    Better,
    /// That it is not worse: what starts from pretrained weights that a person has chosen is
    /// expected to be better.
    NotWorse,
}

/// Which of the two goes on, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The first of the two goes on.
    pub takes_over: bool,
    pub reason: String,
}

/// Chooses by which validation texts each model labels right, `one` or the `other` that it may take
/// over from; `names` are theirs, for the reason.
///
/// # Panics
/// When they have not answered the same number of texts.
pub(crate) fn choose(names: (&str, &str), one: &[bool], other: &[bool], proof: Proof) -> Choice {
    let paired = Paired::new(one, other, None);
    let takes_over = match proof {
        Proof::Better => paired.p_better < CHANCE,
        Proof::NotWorse => paired.better >= paired.worse,
    };
    let found = match (proof, takes_over) {
        (Proof::Better, true) => "is clearly better",
        (Proof::Better, false) => "is not clearly better",
        (Proof::NotWorse, true) => "is not worse",
        (Proof::NotWorse, false) => "is worse",
    };
    let (name, other_name) = names;
    let reason = match one.len() {
        0 => format!("there is no text to compare the {name} and the {other_name} by"),
        texts => format!(
            "the {name} {found}: of {texts} texts that neither learned from, it alone has {} right and the {other_name} alone {} (p = {:.3})",
            paired.better, paired.worse, paired.p_better
        ),
    };
    Choice { takes_over, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: (&str, &str) = ("network", "linear model");

    /// Answers to 20 texts, of which the network alone has the first ones right and the linear
    /// model alone the last.
    fn chosen(network: usize, linear: usize, proof: Proof) -> Choice {
        let right = |wrong: std::ops::Range<usize>| (0..20).map(|text| !wrong.contains(&text)).collect::<Vec<_>>();
        choose(NAMES, &right(20 - linear..20), &right(0..network), proof)
    }

    #[test]
    fn a_network_from_random_weights_has_to_be_clearly_better() {
        assert!(chosen(5, 0, Proof::Better).takes_over, "p = 1/32");
        let choice = chosen(4, 0, Proof::Better);
        assert!(!choice.takes_over, "p = 1/16");
        let lead = "the network is not clearly better: of 20 texts that neither learned from, it alone has 4 right and the linear \
                    model alone 0 (p = 0.06";
        assert!(choice.reason.starts_with(lead), "{}", choice.reason);
    }

    #[test]
    fn a_network_that_a_person_has_chosen_has_to_be_no_worse() {
        assert!(chosen(3, 3, Proof::NotWorse).takes_over);
        let choice = chosen(2, 3, Proof::NotWorse);
        assert!(!choice.takes_over && choice.reason.starts_with("the network is worse"), "{}", choice.reason);
    }

    #[test]
    fn without_a_text_to_compare_by_what_was_expected_goes_on() {
        assert!(!choose(NAMES, &[], &[], Proof::Better).takes_over);
        let choice = choose(NAMES, &[], &[], Proof::NotWorse);
        assert!(choice.takes_over && choice.reason.starts_with("there is no text"), "{}", choice.reason);
    }
}
