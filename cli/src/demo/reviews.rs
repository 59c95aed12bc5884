//! The demo's reviews: what the model learns from, and what flows through the stream, which it has never seen.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, ensure};
use trainer::dataset::{self, Columns, Dataset, Row};
use trainer::prepare::{self, Options};

use super::Take;

/// Reviews of food deliveries and hotels, made for this project.
const SHIPPED: &str = include_str!("../../demo/reviews.csv");

/// More would take longer to learn than a newcomer wants to wait.
const LEARNED_FROM: usize = 5_000;

/// A review to publish.
pub struct Review {
    pub id: String,
    pub text: String,
    /// What a person said of it; nothing where nobody did.
    pub label: Option<String>,
}

/// All reviews of a demo.
pub struct Reviews {
    pub dataset: Dataset,
    pub stream: Vec<Review>,
}

impl Reviews {
    /// As `--reviews` says.
    pub fn take(take: Option<&Take>) -> anyhow::Result<Self> {
        let shipped = || dataset::read_rows(SHIPPED.as_bytes(), &Columns::default());
        match take {
            None => Self::of_labeled(shipped()?, None),
            Some(Take::Number(number)) => Self::of_labeled(shipped()?, Some(*number)),
            Some(Take::File(file)) if has_labels(file)? => {
                let rows = dataset::read_csv(file, &Columns::default())?;
                Self::of_labeled(rows, None).with_context(|| file.display().to_string())
            }
            Some(Take::File(file)) => Ok(Self { stream: unlabeled(file)?, ..Self::of_labeled(shipped()?, Some(0))? }),
        }
    }

    /// A seventh of the rows flows. A `number` beyond that starts over.
    fn of_labeled(rows: Vec<Row>, number: Option<usize>) -> anyhow::Result<Self> {
        let prepared = prepare::prepare(rows, &Options { valid: 0.05, test: 0.15, ..Options::default() })?;
        let mut train = prepared.train;
        train.truncate(LEARNED_FROM);
        let dataset = Dataset::new(&train, &prepared.valid, None)?;
        let number = number.unwrap_or(prepared.test.len());
        ensure!(number == 0 || !prepared.test.is_empty(), "too few reviews to keep some for the stream");
        let stream = prepared.test.into_iter().cycle().take(number).enumerate();
        let stream = stream.map(|(number, row)| Review {
            id: format!("demo-{}", number + 1),
            text: row.text,
            label: Some(row.label),
        });
        Ok(Self { dataset, stream: stream.collect() })
    }

    /// The known labels by review id.
    pub fn labels(&self) -> HashMap<String, String> {
        let labeled = |review: &Review| Some((review.id.clone(), review.label.clone()?));
        self.stream.iter().filter_map(labeled).collect()
    }
}

fn has_labels(file: &Path) -> anyhow::Result<bool> {
    let name = file.display();
    let file = File::open(file).with_context(|| format!("{name} cannot be read"))?;
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.headers().with_context(|| format!("{name}: the header cannot be read"))?;
    Ok(header.iter().any(|column| column.trim_start_matches('\u{feff}').trim().eq_ignore_ascii_case("label")))
}

fn unlabeled(file: &Path) -> anyhow::Result<Vec<Review>> {
    let texts = crate::reviews::texts(file)?.into_iter().enumerate();
    Ok(texts.map(|(number, text)| Review { id: format!("demo-{}", number + 1), text, label: None }).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_shipped_reviews_flow_without_having_been_learned_from() {
        let reviews = Reviews::take(None).unwrap();
        let dataset = &reviews.dataset;
        assert_eq!(dataset.labels, ["好评", "差评"]);
        assert!(dataset.train.len() >= 2_000, "{}", dataset.train.len());
        let learned: HashSet<&str> = dataset.train.iter().map(|example| example.text.as_str()).collect();
        assert!(reviews.stream.iter().all(|review| !learned.contains(review.text.as_str())));
        assert_eq!(reviews.labels().len(), reviews.stream.len());
    }

    #[test]
    fn a_number_beyond_the_shipped_reviews_starts_over_with_new_ids() {
        let reviews = Reviews::take(Some(&Take::Number(5_000))).unwrap();
        let ids: HashSet<&str> = reviews.stream.iter().map(|review| review.id.as_str()).collect();
        assert_eq!(ids.len(), 5_000);
    }
}
