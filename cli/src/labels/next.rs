//! `labelstream labels next`: the reviews most worth labeling, ready to be filled in.
//!
//! The table opens in a spreadsheet as it is: a byte-order mark says that it is UTF-8, and no cell
//! is taken for a formula or a number. `labels import` takes both away again.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use rows::spreadsheet::protected;
use serde_json::json;
use service::{DatabaseArguments, KafkaArguments, KafkaSettings};
use store::Pick;
use trainer::picks::{Mix, POOL, most_worth_labeling, that_cover};

use crate::print;

/// Flags of `labelstream labels next`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    /// Most reviews to print
    #[arg(long, default_value_t = 20)]
    limit: u32,

    /// Share of them that is drawn from the stream at random, between 0 and 1: `labelstream
    /// accuracy` rests on their labels. The others are those of which the champion is least
    /// certain, those that are unlike the rest, and those on which two models disagree
    #[arg(long, default_value_t = 0.2, value_parser = service::share_or_none)]
    audit_share: f64,

    /// Kafka brokers to read reviews from while no model has labeled any, separated by commas
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    brokers: Option<String>,

    #[command(flatten)]
    kafka: KafkaSettings,

    /// Topic to read them from; nothing is committed
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "reviews")]
    topic: String,

    /// JSON field that holds the text
    #[arg(long, env = "LABELSTREAM_TEXT_FIELD", default_value = "text")]
    text_field: String,

    /// JSON field that holds the review's id
    #[arg(long, env = "LABELSTREAM_ID_FIELD", default_value = "review_id")]
    id_field: String,

    /// Directory of a pretrained encoder, which tells better which reviews are unlike the others
    #[arg(long, env = "LABELSTREAM_ENCODER", value_name = "DIR")]
    encoder: Option<PathBuf>,

    /// Print tasks for Label Studio (JSON), whose export `labels import` takes
    #[arg(long, conflicts_with = "json")]
    label_studio: bool,

    /// Print a JSON object a line in place of CSV, with why each was picked; for programs, with
    /// every text as it is
    #[arg(long)]
    json: bool,
}

/// The columns of the table.
pub const COLUMNS: [&str; 5] = ["review_id", "text", "prediction", "score", "label"];

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let store = arguments.database.connect().await?;
    let mix = Mix {
        audit_share: arguments.audit_share,
        has_second_opinion: true,
        encoder: arguments.encoder,
        asked: HashSet::new(),
    };
    let asked = if store.has_predictions().await? {
        most_worth_labeling(&store, arguments.limit, &mix).await?
    } else if let Some(brokers) = arguments.brokers {
        let topic = consumer::Config {
            kafka: KafkaArguments { brokers, settings: arguments.kafka },
            topic: arguments.topic,
            text_field: arguments.text_field,
            id_field: arguments.id_field,
            ..consumer::Config::default()
        };
        let reviews = consumer::newest_reviews(&topic, POOL as usize).await?;
        that_cover(&store, reviews, arguments.limit, &mix).await?
    } else {
        eprintln!("no review is stored yet: with --brokers they are read from the topic");
        Vec::new()
    };
    if asked.is_empty() {
        eprintln!("no review waits for a label");
    }
    if arguments.label_studio {
        return print::json(&page::tasks(&asked));
    }
    if arguments.json {
        return asked.iter().try_for_each(|pick| {
            print::json(&json!({
                "review_id": pick.review_id, "text": pick.text, "prediction": pick.prediction,
                "score": pick.score, "label": "", "picked": pick.way.word(), "probability": pick.probability,
            }))
        });
    }
    let table = table(&asked)?;
    if std::io::stdout().is_terminal() {
        print!("{}", String::from_utf8(table)?);
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    out.write_all("\u{feff}".as_bytes())?;
    out.write_all(&table)?;
    Ok(out.flush()?)
}

fn table(asked: &[Pick]) -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMNS)?;
    for Pick { review_id, text, prediction, score, .. } in asked {
        let cell = |text: Option<&str>| protected(text.unwrap_or_default());
        let score = score.map_or(String::new(), |score| format!("{score:.3}"));
        csv.write_record([
            &cell(review_id.as_deref()),
            &cell(Some(text)),
            &cell(prediction.as_deref()),
            &score,
            &String::new(),
        ])?;
    }
    Ok(csv.into_inner()?)
}
