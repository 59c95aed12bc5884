//! What a run came to, for people.

use trainer::{Evaluation, Summary, Trained};

/// Prints it.
pub fn print(trained: &Trained) {
    match trained {
        Trained::Network(summary) => network(summary),
        Trained::Linear(summary) => {
            head(trained);
            println!("features        {} different n-grams of {} texts", summary.features, summary.examples);
            println!("time            {:.1} s", summary.seconds);
        }
        Trained::FromScratch(summary) => {
            head(trained);
            println!("kind            {}: {}", summary.kind, summary.reason);
            println!("time            {:.0} s", summary.seconds);
            let models = [
                ("linear", "linear model", &summary.linear),
                ("student", "student", &summary.student),
                ("network", "network", &summary.network),
            ];
            let measured = models.iter().filter_map(|(key, name, evaluation)| Some((key, name, evaluation.as_ref()?)));
            if measured.clone().count() > 1 {
                for (key, name, evaluation) in measured {
                    let cost = summary.microseconds_per_text.get(key).copied().unwrap_or_default();
                    println!("{name:<16}{}  {cost:.0} µs a text", figures(evaluation));
                }
            }
        }
    }
    match trained.evaluation() {
        Some(evaluation) => println!("\non the validation texts:\n{evaluation}"),
        None => println!("\nno validation texts, so nothing was measured"),
    }
}

fn head(trained: &Trained) {
    println!("checkpoint      {}", trained.checkpoint().display());
    println!("manifest        sha256 {}", trained.manifest_sha256());
}

fn network(summary: &Summary) {
    println!("checkpoint      {}", summary.checkpoint.display());
    println!("manifest        sha256 {}", summary.manifest_sha256);
    let (steps, planned) = (summary.steps, summary.head.optimization_steps);
    let early = if steps < planned { format!(", which ended early, {planned} were planned") } else { String::new() };
    println!("best step       {} of {steps}{early}", summary.best_step);
    println!("train loss      {:.4} (last epoch)", summary.train_loss);
    println!("time            {:.0} s, {:.0} texts/s in training", summary.seconds, summary.texts_per_second);
}

fn figures(evaluation: &Evaluation) -> String {
    format!("accuracy {:.4}  macro-F1 {:.4}", evaluation.accuracy, evaluation.macro_f1)
}
