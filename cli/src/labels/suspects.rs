//! `labelstream labels suspects`: labels that are probably wrong, ready to be given anew.

use std::path::{Path, PathBuf};

use rows::spreadsheet::protected;
use serde_json::json;
use service::{DatabaseArguments, Secret};
use trainer::suspects::{Encoder, Suspect, add_nearest, dataset, newest, out_of_fold, suspects};
use trainer::{Columns, Dataset};

use crate::print;

/// Flags of `labelstream labels suspects`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Postgres database whose labels are looked through, as psql takes it
    #[arg(
        long,
        env = "LABELSTREAM_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        required_unless_present = "data"
    )]
    database_url: Option<Secret>,

    /// File of labeled texts (text, label; CSV or JSON lines) to look through in place of the
    /// database
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// Directory of a pretrained encoder, so that what a text means counts, too
    #[arg(long, env = "LABELSTREAM_ENCODER", value_name = "DIR")]
    encoder: Option<PathBuf>,

    /// Most labels to print
    #[arg(long, default_value_t = 20)]
    limit: usize,

    /// Print a JSON object a line in place of a CSV that `labels import` takes
    #[arg(long)]
    json: bool,

    /// Print every text with its probabilities, as JSON lines
    #[arg(long, hide = true)]
    all: bool,
}

/// A text with its label.
struct Labeled {
    review_id: Option<String>,
    text: String,
    label: String,
    labeled_by: String,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let labeled = match (&arguments.data, &arguments.database_url) {
        (Some(file), _) => of_file(file)?,
        (None, Some(url)) => {
            let labels = DatabaseArguments::new(url.clone()).connect().await?.all_labels().await?;
            newest(labels).into_iter().map(of_database).collect()
        }
        (None, None) => anyhow::bail!("--database-url or --data says where the labels are"),
    };
    tokio::task::spawn_blocking(move || print(&arguments, &labeled)).await?
}

fn print(arguments: &Arguments, labeled: &[Labeled]) -> anyhow::Result<()> {
    let dataset = dataset(labeled.iter().map(|labeled| (labeled.text.as_str(), labeled.label.as_str())))?;
    let encoder = arguments.encoder.as_deref().map(|directory| Encoder { directory, cache: None });
    let probabilities = out_of_fold(&dataset, encoder)?;
    if arguments.all {
        return dataset.train.iter().zip(&probabilities).try_for_each(|(example, probabilities)| {
            print::json(&json!({
                "text": example.text, "label": dataset.classes[example.label],
                "classes": dataset.classes, "probabilities": probabilities,
            }))
        });
    }
    let mut suspects = suspects(&dataset, &probabilities);
    let found = suspects.len();
    suspects.truncate(arguments.limit);
    add_nearest(&dataset, &mut suspects);
    eprintln!("{found} of {} labels are suspect", print::grouped(labeled.len()));
    if arguments.json {
        return suspects.iter().try_for_each(|suspect| print::json(&as_json(&dataset, labeled, suspect)));
    }
    let mut csv = csv::Writer::from_writer(std::io::stdout());
    csv.write_record(["review_id", "text", "given", "claimed", "probability", "nearest", "label"])?;
    for suspect in &suspects {
        let Labeled { review_id, text, label, .. } = &labeled[suspect.index];
        let nearest =
            suspect.nearest.iter().map(|index| format!("{}: {}", labeled[*index].label, labeled[*index].text));
        csv.write_record([
            protected(review_id.as_deref().unwrap_or_default()),
            protected(text),
            protected(label),
            protected(&dataset.classes[suspect.claimed]),
            format!("{:.3}", suspect.probability),
            protected(&nearest.collect::<Vec<_>>().join(" / ")),
            String::new(),
        ])?;
    }
    Ok(csv.flush()?)
}

fn as_json(dataset: &Dataset, labeled: &[Labeled], suspect: &Suspect) -> serde_json::Value {
    let Labeled { review_id, text, label, labeled_by } = &labeled[suspect.index];
    let nearest = suspect.nearest.iter().map(|index| {
        let Labeled { review_id, text, label, .. } = &labeled[*index];
        json!({"review_id": review_id, "text": text, "label": label})
    });
    json!({
        "review_id": review_id, "text": text, "given": label, "labeled_by": labeled_by,
        "claimed": dataset.classes[suspect.claimed], "probability": suspect.probability,
        "probability_of_given": suspect.of_label, "nearest": nearest.collect::<Vec<_>>(), "label": "",
    })
}

fn of_database(label: store::Label) -> Labeled {
    let store::Label { review_id, text, label, labeled_by, .. } = label;
    Labeled { review_id, text, label, labeled_by }
}

fn of_file(file: &Path) -> anyhow::Result<Vec<Labeled>> {
    let rows = trainer::labeled_rows::read(file, &Columns::default())?;
    let labeled = |row: trainer::Row| Labeled {
        review_id: None,
        text: row.text,
        label: row.label.trim().to_owned(),
        labeled_by: String::new(),
    };
    Ok(rows.into_iter().map(labeled).collect())
}
