//! How often the gate lets pass what is no better, and holds back what is: a simulation of pairs of
//! models on held-out texts.

use anyhow::Result;
use trainer::gate::{Answers, Case, Origin, Policy, judge};

/// Flags of `bench gate`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Pairs of models for each cell of the tables.
    #[arg(long, default_value_t = 2_000)]
    pairs: usize,
}

/// How often the champion is right: a linear model on short reviews.
const ACCURACY: f64 = 0.85;
/// On how many texts a candidate that is no better and the champion differ: a champion trained
/// further, and another kind of model.
const DISAGREEMENTS: [f64; 2] = [0.06, 0.14];
/// Candidate minus champion, in accuracy.
const DIFFERENCES: [f64; 7] = [-0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.05];
const HELD_OUT: [usize; 6] = [50, 100, 200, 500, 1_000, 2_000];

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let policies = [
        ("better: McNemar's exact test, one-sided, 5%", Policy::default()),
        ("not worse by 0.02: Tango's score test, 5%", Policy { margin: Some(0.02), ..Policy::default() }),
    ];
    let mut random = Random(2026);
    for (name, policy) in policies {
        for disagreement in DISAGREEMENTS {
            println!("\n### {name}; the models differ on {:.0}% of the texts\n", 100.0 * disagreement);
            println!("| held-out texts | {} |", DIFFERENCES.map(|difference| format!("{difference:+.2}")).join(" | "));
            println!("|--:|{}", "--:|".repeat(DIFFERENCES.len()));
            for texts in HELD_OUT {
                let rates = DIFFERENCES.map(|difference| {
                    let pair = Pair { texts, difference, disagreement };
                    let passed =
                        (0..arguments.pairs).filter(|_| judge(&pair.draw(&mut random), &policy).accepted).count();
                    format!("{:.1}%", 100.0 * passed as f64 / arguments.pairs as f64)
                });
                println!("| {texts} | {} |", rates.join(" | "));
            }
        }
    }
    Ok(())
}

/// Two models of which the true accuracies are known.
struct Pair {
    texts: usize,
    difference: f64,
    disagreement: f64,
}

impl Pair {
    /// Their answers on texts drawn anew, half of them of each class.
    fn draw(&self, random: &mut Random) -> Case {
        // Models that differ in accuracy differ on at least as many texts.
        let disagreement = self.disagreement.max(self.difference.abs());
        let only_candidate = (disagreement + self.difference) / 2.0;
        let only_champion = disagreement - only_candidate;
        let both = ACCURACY - only_champion;
        let truth: Vec<usize> = (0..self.texts).map(|text| text % 2).collect();
        let (mut candidate, mut champion) = (Vec::new(), Vec::new());
        for class in &truth {
            let draw = random.share();
            let of_candidate = draw < only_candidate || draw >= disagreement && draw < disagreement + both;
            let of_champion = draw >= only_candidate && draw < disagreement + both;
            candidate.push(Some(if of_candidate { *class } else { 1 - class }));
            champion.push(Some(if of_champion { *class } else { 1 - class }));
        }
        let answers = |classes| Answers { classes, milliseconds_per_text: 1.0 };
        let names = vec!["bad".to_owned(), "good".to_owned()];
        Case {
            candidate_classes: names.clone(),
            champion_classes: Some(names.clone()),
            classes: names,
            origins: vec![Origin::Chosen; truth.len()],
            truth,
            cross_validated: 0,
            candidate: answers(candidate),
            champion: Some(answers(champion)),
            baseline: None,
            golden: Vec::new(),
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// A number between 0 and 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
