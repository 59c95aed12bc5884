//! `labelstream labels next`: the reviews most worth labeling, ready to be filled in.

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

    /// Print a JSON object a line in place of CSV
    #[arg(long)]
    json: bool,
}

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
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["review_id", "text", "prediction", "score", "label"])?;
    for Predicted { review_id, text, label, score, .. } in &reviews {
        csv.write_record([review_id, text, label, &format!("{score:.3}"), ""])?;
    }
    print!("{}", String::from_utf8(csv.into_inner()?)?);
    Ok(())
}

/// Reviews without a label, of which a person's word would teach the next model most.
pub async fn most_worth_labeling(store: &Store, limit: u32) -> anyhow::Result<Vec<Predicted>> {
    let candidates = store.least_certain(limit.saturating_mul(CANDIDATES)).await?;
    Ok(pick(candidates, limit as usize))
}
