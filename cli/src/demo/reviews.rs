//! The demo's reviews: those that people have labeled before it begins, and those that flow through
//! the stream.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rows::{Column, Format, Input, Options as FileOptions};
use trainer::labeled_rows::read_rows;
use trainer::prepare::{self, Options};
use trainer::{Columns, Row};

use super::Take;

/// Reviews of food deliveries and hotels, made for this project.
const SHIPPED: &str = include_str!("../../demo/reviews.csv");

/// Enough for a first model that is better than nothing, and bad enough to learn from.
const LABELED: usize = 300;

/// A review to publish.
pub struct Review {
    pub id: String,
    pub text: String,
    /// What a person would say of it; nothing where nobody can tell.
    pub label: Option<String>,
}

/// All reviews of a demo.
pub struct Reviews {
    /// Labeled before the demo begins; they are not published.
    pub labeled: Vec<Row>,
    pub stream: Vec<Review>,
}

impl Reviews {
    /// As `--reviews` says.
    pub fn take(take: Option<&Take>) -> Result<Self> {
        match take {
            None => Self::of_labeled(shipped()?, None),
            Some(Take::Number(number)) => Self::of_labeled(shipped()?, Some(*number)),
            Some(Take::File(file)) => Self::of_file(file),
        }
    }

    /// The reviews of a file; where it has no labels, the shipped ones teach.
    fn of_file(file: &Path) -> Result<Self> {
        let rows = Input::open(file, FileOptions::default(), Some(Format::Csv))?.rows()?;
        if rows.may_have(&Column::label(None)) {
            let rows = read_rows(rows, &Columns::default())?;
            return Self::of_labeled(rows, None).with_context(|| file.display().to_string());
        }
        let texts = rows::texts(file)?.into_iter().enumerate();
        let stream = texts.map(|(number, text)| Review { id: format!("demo-{}", number + 1), text, label: None });
        Ok(Self { stream: stream.collect(), ..Self::of_labeled(shipped()?, Some(0))? })
    }

    /// Of each class a share is labeled before, half of the rows at most; the others flow. A
    /// `number` beyond them starts over.
    fn of_labeled(rows: Vec<Row>, number: Option<usize>) -> Result<Self> {
        let flows = (1.0 - LABELED as f64 / rows.len().max(1) as f64).max(0.5);
        let prepared = prepare::prepare(rows, &Options { valid: 0.0, test: flows, ..Options::default() })?;
        let number = number.unwrap_or(prepared.test.len());
        ensure!(number == 0 || !prepared.test.is_empty(), "too few reviews to keep some for the stream");
        let stream = prepared.test.into_iter().cycle().take(number).enumerate();
        let stream = stream.map(|(number, row)| Review {
            id: format!("demo-{}", number + 1),
            text: row.text,
            label: Some(row.label),
        });
        Ok(Self { labeled: prepared.train, stream: stream.collect() })
    }

    /// What people would say, by review id.
    pub fn truth(&self) -> HashMap<String, String> {
        let labeled = |review: &Review| Some((review.id.clone(), review.label.clone()?));
        self.stream.iter().filter_map(labeled).collect()
    }
}

fn shipped() -> Result<Vec<Row>> {
    let input = Input::new(SHIPPED.as_bytes(), "the demo's reviews", Format::Csv, None)?;
    read_rows(input.rows()?, &Columns::default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_shipped_reviews_flow_but_for_those_that_were_labeled_before() {
        let reviews = Reviews::take(None).unwrap();
        assert!((LABELED - 5..LABELED + 5).contains(&reviews.labeled.len()), "{}", reviews.labeled.len());
        assert!(reviews.stream.len() > 4_000, "{}", reviews.stream.len());
        let labeled: HashSet<&str> = reviews.labeled.iter().map(|row| row.text.as_str()).collect();
        assert!(reviews.stream.iter().all(|review| !labeled.contains(review.text.as_str())));
        assert_eq!(reviews.truth().len(), reviews.stream.len());
    }

    #[test]
    fn a_number_beyond_the_shipped_reviews_starts_over_with_new_ids() {
        let reviews = Reviews::take(Some(&Take::Number(9_000))).unwrap();
        let ids: HashSet<&str> = reviews.stream.iter().map(|review| review.id.as_str()).collect();
        assert_eq!(ids.len(), 9_000);
    }
}
