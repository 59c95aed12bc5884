//! `labelstream labels agreement`: how often people agree where two have labeled one text.

use service::DatabaseArguments;
use trainer::agreement::{Agreement, Said, agreements};

use crate::print;

/// Flags of `labelstream labels agreement`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let labels = arguments.database.connect().await?.all_labels().await?;
    let said =
        labels.iter().map(|label| Said { labeled_by: &label.labeled_by, text: &label.text, label: &label.label });
    let agreements = agreements(said);
    if arguments.json {
        return print::json(&agreements);
    }
    if agreements.is_empty() {
        println!("no text was labeled by two people");
        return Ok(());
    }
    let row = |Agreement { between: (one, other), texts, agree, kappa }: &Agreement| {
        [
            format!("{} and {}", print::visible(one), print::visible(other)),
            texts.to_string(),
            format!("{:.1}%", 100.0 * agree),
            kappa.map_or("?".to_owned(), |kappa| format!("{kappa:.2}")),
        ]
    };
    print::table(["BETWEEN", "TEXTS", "AGREE", "KAPPA"], &agreements.iter().map(row).collect::<Vec<_>>());
    Ok(())
}
