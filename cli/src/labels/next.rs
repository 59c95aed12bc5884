//! `labelstream labels next`: the reviews most worth labeling, ready to be filled in.
//!
//! The table opens in a spreadsheet as it is: a byte-order mark says that it is UTF-8, and no cell
//! is taken for a formula or a number. `labels import` takes both away again.

use std::io::{IsTerminal as _, Write as _};

use rows::spreadsheet::protected;
use serde_json::json;
use service::DatabaseArguments;
use store::{Predicted, Store};

use super::pick;
use crate::print;

/// Flags of `labelstream labels next`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    /// Most reviews to print
    #[arg(long, default_value_t = 20)]
    limit: u32,

    /// Print a JSON object a line in place of CSV; for programs, with every text as it is
    #[arg(long)]
    json: bool,
}

/// The columns of the table.
pub const COLUMNS: [&str; 5] = ["review_id", "text", "prediction", "score", "label"];

/// Candidates for every review that is printed: near-copies and the largest class use some up.
const CANDIDATES: u32 = 20;

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let reviews = most_worth_labeling(&arguments.database.connect().await?, arguments.limit).await?;
    if reviews.is_empty() {
        eprintln!("no review waits for a label");
    }
    if arguments.json {
        return reviews.iter().try_for_each(|review| {
            print::json(&json!({
                "review_id": review.review_id, "text": review.text,
                "prediction": review.label, "score": review.score, "label": "",
            }))
        });
    }
    let table = table(&reviews)?;
    if std::io::stdout().is_terminal() {
        print!("{}", String::from_utf8(table)?);
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    out.write_all("\u{feff}".as_bytes())?;
    out.write_all(&table)?;
    Ok(out.flush()?)
}

fn table(reviews: &[Predicted]) -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMNS)?;
    for Predicted { review_id, text, label, score, .. } in reviews {
        csv.write_record([&protected(review_id), &protected(text), &protected(label), &format!("{score:.3}"), ""])?;
    }
    Ok(csv.into_inner()?)
}

/// Reviews without a label, of which a person's word would teach the next model most.
pub async fn most_worth_labeling(store: &Store, limit: u32) -> anyhow::Result<Vec<Predicted>> {
    let candidates = store.least_certain(limit.saturating_mul(CANDIDATES)).await?;
    Ok(pick(candidates, limit as usize))
}
