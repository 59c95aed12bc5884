//! `labelstream accuracy`: what each version is worth on the stream, estimated from reviews that
//! were drawn from it at random.

use std::collections::BTreeMap;

use service::DatabaseArguments;
use store::Version;
use trainer::audit::{Accuracy, Estimate, accuracies};

use crate::print;

/// Flags of `labelstream accuracy`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    /// The version to show by class and day [default: the champion]
    #[arg(long)]
    version: Option<i64>,

    /// Print one JSON array, a version an object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let store = arguments.database.connect().await?;
    let accuracies = accuracies(&store.audited().await?);
    if arguments.json {
        return print::json(&accuracies);
    }
    if accuracies.is_empty() {
        println!("no review was drawn at random yet: `labelstream labels next` draws some of those it prints");
        return Ok(());
    }
    let row = |accuracy: &Accuracy| {
        let [value, interval, labeled] = numbers(accuracy.accuracy.as_ref());
        [accuracy.version.to_string(), value, interval, labeled, accuracy.drawn.to_string()]
    };
    let header = ["VERSION", "ACCURACY", "95% INTERVAL", "LABELED", "DRAWN"];
    print::table(header, &accuracies.iter().map(row).collect::<Vec<_>>());
    let shown = match arguments.version {
        Some(version) => Some(Version(version)),
        None => store.champion().await?.map(|champion| champion.version),
    };
    match accuracies.iter().find(|accuracy| Some(accuracy.version) == shown) {
        Some(accuracy) => show(accuracy),
        None => {
            println!("\nnothing was drawn of version {}", shown.map_or("none".to_owned(), |shown| shown.to_string()))
        }
    }
    Ok(())
}

/// The share, its interval, and the labels that it rests on.
fn numbers(estimate: Option<&Estimate>) -> [String; 3] {
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    let Some(Estimate { value, low, high, texts, .. }) = estimate else {
        return ["?".to_owned(), "?".to_owned(), "0".to_owned()];
    };
    [percent(*value), format!("{} to {}", percent(*low), percent(*high)), texts.to_string()]
}

fn show(accuracy: &Accuracy) {
    println!("\nversion {}", accuracy.version);
    part("predicted", &accuracy.by_prediction);
    part("labeled", &accuracy.by_label);
    part("on", &accuracy.by_day);
}

fn part<K: ToString>(what: &str, estimates: &BTreeMap<K, Estimate>) {
    let row = |(key, estimate): (&K, &Estimate)| {
        let [value, interval, labeled] = numbers(Some(estimate));
        [format!("{what} {}", print::visible(&key.to_string())), value, interval, labeled]
    };
    let rows: Vec<_> = estimates.iter().map(row).collect();
    if !rows.is_empty() {
        println!();
        print::table(["OF THOSE", "RIGHT", "95% INTERVAL", "LABELED"], &rows);
    }
}
