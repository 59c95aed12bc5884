//! A file of labels, read whole and checked before anything is imported.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use rows::spreadsheet::{ADVICE, is_shortened, unprotected};
use rows::{Column, Location, Rows};
use store::NewLabel;
use trainer::prepare::key;

/// What a file says.
#[derive(Debug)]
pub struct Labels {
    pub rows: Vec<Row>,
    pub without_label: u64,
}

/// One label, and where it stands.
#[derive(Debug)]
pub struct Row {
    pub location: Location,
    pub label: Fields,
}

/// The columns that mean something here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub review_id: Option<String>,
    pub text: Option<String>,
    pub label: Option<String>,
    labeled_by: Option<String>,
    labeled_at: Option<String>,
}

impl Labels {
    /// Reads all of a file's labels.
    ///
    /// # Errors
    /// Whatever would make a label another one than a person meant.
    pub fn read(rows: Rows) -> Result<Self> {
        check_columns(&rows)?;
        let is_ours = is_from_labels_next(&rows);
        let file = rows.file().to_owned();
        let mut labels = Self { rows: Vec::new(), without_label: 0 };
        for row in rows {
            let row = row?;
            let location = row.location.clone();
            match Fields::of(row, is_ours)?.checked().with_context(|| location.to_string())? {
                Some(label) => labels.rows.push(Row { location, label }),
                None => labels.without_label += 1,
            }
        }
        ensure!(!labels.rows.is_empty(), "{file}: no row has a label");
        labels.check_ids()?;
        let labeled = labels.rows.iter().filter_map(|row| Some((row.location.line, row.label.label.as_deref()?)));
        trainer::refuse_alike_labels(labeled, &[]).context(file)?;
        Ok(labels)
    }

    /// The labels as the store takes them; `labeled_by` and `source` are for rows that tell
    /// nothing.
    pub fn labels(&self, labeled_by: Option<&str>, source: &str) -> Vec<NewLabel> {
        let labels = self.rows.iter().map(|Row { label, .. }| NewLabel {
            review_id: label.review_id.clone(),
            text: label.text.clone(),
            label: label.label.clone().unwrap_or_default(),
            labeled_by: label.labeled_by.clone().or_else(|| labeled_by.map(str::to_owned)),
            // Was checked when the row was read.
            labeled_at: label.labeled_at.as_deref().and_then(|time| time.parse().ok()),
            source: source.to_owned(),
        });
        labels.collect()
    }

    /// Refuses an id that has many texts: labels are never taken back, and of each review the
    /// newest counts.
    fn check_ids(&self) -> Result<()> {
        let mut first: HashMap<&str, (&Location, String)> = HashMap::new();
        for Row { location, label } in &self.rows {
            let (Some(id), Some(text)) = (&label.review_id, &label.text) else { continue };
            let text = key(text);
            let (first, known) = first.entry(id).or_insert_with(|| (location, text.clone()));
            if *known == text {
                continue;
            }
            let first = first.line;
            let cause = if is_shortened(id) { format!(": {ADVICE}") } else { String::new() };
            return Err(location.error(format_args!(
                "the review id {id:?} stands on line {first} with another text{cause}; nothing was imported"
            )));
        }
        let mut shortened = self.rows.iter().filter(|row| row.label.review_id.as_deref().is_some_and(is_shortened));
        match shortened.next() {
            Some(Row { location, label }) => Err(location.error(format_args!(
                "the review id {:?}: {ADVICE}; nothing was imported",
                label.review_id.as_deref().unwrap_or_default()
            ))),
            None => Ok(()),
        }
    }

    /// What a person should look at before believing the ids: a spreadsheet that shows a long number
    /// in full keeps fifteen digits of it.
    pub fn warning(&self) -> Option<&'static str> {
        let is_long = |id: &&str| id.len() > 15 && id.bytes().all(|byte| byte.is_ascii_digit());
        let mut long = self.rows.iter().filter_map(|row| row.label.review_id.as_deref()).filter(is_long).peekable();
        long.peek()?;
        long.all(|id| id[15..].bytes().all(|byte| byte == b'0')).then_some(
            "every long review id ends in zeros after fifteen digits, as if a spreadsheet had rounded it: are they right?",
        )
    }
}

/// Whether it may be a table that `labels next` wrote, in which cells are protected from
/// spreadsheets. A person may have added columns since, or removed some.
fn is_from_labels_next(rows: &Rows) -> bool {
    let ours = super::next::COLUMNS;
    let is_ours = |name: &&str| ours.iter().any(|own| name.trim().eq_ignore_ascii_case(own));
    let has_all = ours.iter().all(|name| rows.may_have(&Column::named(name)));
    let has_id = rows.may_have(&Column::named("review_id"));
    rows.columns().is_some_and(|columns| has_all || has_id && columns.iter().all(is_ours))
}

fn check_columns(rows: &Rows) -> Result<()> {
    rows.require(&Column::named("label"))?;
    let Some(columns) = rows.columns() else { return Ok(()) };
    let has = |name: &str| rows.may_have(&Column::named(name));
    if !(has("text") || has("review") || has("review_id")) {
        bail!(
            "{}: no column text, review or review_id: what was labeled? there are: {}",
            rows.file(),
            columns.join(", ")
        );
    }
    let both = has("text") && has("review");
    ensure!(!both, "{}: a column text and a column review: which of them was labeled?", rows.file());
    Ok(())
}

impl Fields {
    fn of(mut row: rows::Row, is_protected: bool) -> Result<Self> {
        let plain = |cell: String| if is_protected { unprotected(&cell).to_owned() } else { cell };
        let mut take = |name: &str| Ok::<_, anyhow::Error>(row.take(&Column::named(name))?.map(plain));
        Ok(Self {
            review_id: take("review_id")?,
            label: take("label")?,
            labeled_by: take("labeled_by")?,
            labeled_at: take("labeled_at")?,
            text: row.take(&Column::text(None))?.map(plain),
        })
    }

    /// An empty cell says nothing; a row without a label is still to be filled in.
    fn checked(self) -> Result<Option<Self>> {
        let filled = |cell: Option<String>| cell.filter(|cell| !cell.trim().is_empty());
        let trimmed = |cell: Option<String>| filled(cell).map(|cell| cell.trim().to_owned());
        let fields = Self {
            review_id: filled(self.review_id),
            text: filled(self.text),
            label: trimmed(self.label),
            labeled_by: trimmed(self.labeled_by),
            labeled_at: trimmed(self.labeled_at),
        };
        if fields.label.is_none() {
            return Ok(None);
        }
        ensure!(fields.text.is_some() || fields.review_id.is_some(), "a label, but neither a text nor a review id");
        let all = [&fields.review_id, &fields.text, &fields.label, &fields.labeled_by];
        ensure!(
            !all.into_iter().flatten().any(|cell| cell.contains('\0')),
            "a NUL character, which Postgres cannot hold"
        );
        if let Some(time) = &fields.labeled_at {
            let parsed: DateTime<Utc> =
                time.parse().map_err(|_| anyhow::anyhow!("{time:?} is no time such as 2026-11-22T10:00:00Z"))?;
            // Of two labels the newer counts, so this one would win for as long as it lies ahead.
            // Clocks differ a little.
            ensure!(parsed < Utc::now() + TimeDelta::minutes(5), "labeled_at {time} lies in the future");
        }
        Ok(Some(fields))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rows::{Format, Input};

    use super::*;

    fn read(content: &str, format: Format) -> Result<Labels> {
        let content = std::io::Cursor::new(content.to_owned());
        Labels::read(Input::new(content, "march.csv", format, None)?.rows()?)
    }

    fn error(csv: &str) -> String {
        format!("{:#}", read(csv, Format::Csv).unwrap_err())
    }

    #[test]
    fn a_csv_from_labels_next_comes_in_as_it_was_filled_in() {
        let csv =
            "\u{feff}review_id,text,prediction,score,Label\nr-1,\"很快,\n好吃\",差评,0.51,好评\nr-2,凉了,差评,0.52,\n";
        let labels = read(csv, Format::Csv).unwrap();
        assert_eq!((labels.rows.len(), labels.without_label), (1, 1));
        let label = &labels.labels(Some("ada"), "march.csv")[0];
        assert_eq!(label.review_id.as_deref(), Some("r-1"));
        assert_eq!(label.text.as_deref(), Some("很快,\n好吃"));
        assert_eq!((label.label.as_str(), label.labeled_by.as_deref()), ("好评", Some("ada")));
        assert_eq!((label.labeled_at, label.source.as_str()), (None, "march.csv"));
    }

    #[test]
    fn what_protects_a_cell_goes_where_columns_were_removed_or_added_too() {
        for (header, row) in [
            ("review_id,text,label", "'1234567890123456789,'-好吃,好评"),
            ("review_id,text,prediction,score,label,note", "'1234567890123456789,'-好吃,好评,0.5,好评,x"),
        ] {
            let labels = read(&format!("{header}\n{row}\n"), Format::Csv).unwrap();
            let label = &labels.labels(None, "x")[0];
            assert_eq!(
                (label.review_id.as_deref(), label.text.as_deref()),
                (Some("1234567890123456789"), Some("-好吃"))
            );
        }
    }

    #[test]
    fn json_lines_are_taken_too() {
        let lines = "{\"review_id\":\"r-1\",\"text\":\"好\",\"score\":0.5,\"label\":\"好评\"}\n\n{\"review\":\"差\",\"label\":\"\"}\n";
        let labels = read(lines, Format::JsonLines).unwrap();
        assert_eq!((labels.rows.len(), labels.without_label), (1, 1));
        let error = read("{\"label\":\"a\",\"text\":\"b\"}\n{\n", Format::JsonLines).unwrap_err();
        assert!(format!("{error:#}").starts_with("march.csv: line 2: "), "{error:#}");
    }

    #[test]
    fn the_file_s_own_word_on_who_and_when_comes_first() {
        let csv = "label,review,labeled_by,labeled_at\n好评,好,bo,2026-01-02T03:04:05+08:00\n好评,棒,,\n";
        let labels = read(csv, Format::Csv).unwrap().labels(Some("ada"), "x");
        assert_eq!(labels[0].labeled_by.as_deref(), Some("bo"));
        assert_eq!(labels[0].labeled_at.unwrap().to_rfc3339(), "2026-01-01T19:04:05+00:00");
        assert_eq!((labels[1].labeled_by.as_deref(), labels[1].labeled_at), (Some("ada"), None));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(error("text,stars\n好,5\n"), "march.csv: no column label; there are: text, stars");
        assert!(error("label,stars\na,5\n").starts_with("march.csv: no column text, review or review_id"));
        assert_eq!(error("label,text\na,b\nc,\n"), "march.csv: line 3: a label, but neither a text nor a review id");
        assert_eq!(error("label,text\n,b\n"), "march.csv: no row has a label");
        assert!(error("label,text\na,b\0\n").starts_with("march.csv: line 2: a NUL character"));
        let of_json = read("{\"label\":\"a\",\"text\":\"b\\u0000\"}\n", Format::JsonLines).unwrap_err();
        assert_eq!(format!("{of_json:#}"), "march.csv: line 1: a NUL character, which Postgres cannot hold");
        assert!(error("label,text\na,b,c\n").starts_with("march.csv: line 2: 3 fields"));
        assert!(
            error("label,text,labeled_at\na,b,yesterday\n").starts_with("march.csv: line 2: \"yesterday\" is no time")
        );
        assert!(error("label,text,labeled_at\na,b,2999-01-01T00:00:00Z\n").ends_with("lies in the future"));
    }

    #[test]
    fn an_id_that_a_spreadsheet_has_shortened_is_refused_and_one_of_a_review_that_two_people_labeled_is_not() {
        let shortened = error("review_id,text,label\n1.23457E+15,好吃,a\n1.23457E+15,难吃,b\n");
        assert!(
            shortened
                .starts_with("march.csv: line 3: the review id \"1.23457E+15\" stands on line 2 with another text"),
            "{shortened}"
        );
        assert!(shortened.contains("spreadsheet") && shortened.contains("nothing was imported"), "{shortened}");
        let alone = error("review_id,text,label\n1.23457E+15,好吃,a\n");
        assert!(alone.starts_with("march.csv: line 2: the review id \"1.23457E+15\": a spreadsheet"), "{alone}");
        let rounded = error("review_id,text,label\n1234567890123450000,好吃,a\n1234567890123450000,难吃,b\n");
        assert!(rounded.contains("with another text; nothing"), "{rounded}");
        let twice = "review_id,text,label,labeled_by\nr-1,好吃,a,bo\nr-1,好吃！,b,ada\nr-1,,b,eve\n";
        assert_eq!(read(twice, Format::Csv).unwrap().rows.len(), 3);
    }

    #[test]
    fn ids_that_a_spreadsheet_has_rounded_are_pointed_out() {
        let warning = |ids: [&str; 2]| {
            let [one, other] = ids;
            let table = format!("review_id,text,label\n{one},好吃,a\n{other},难吃,b\nr-1,慢,b\n");
            let input = Input::new(std::io::Cursor::new(table), "march.csv", Format::Csv, None).unwrap();
            Labels::read(input.rows().unwrap()).unwrap().warning()
        };
        assert!(warning(["1234567890123450000", "1234567890123460000"]).is_some());
        assert!(warning(["1234567890123450000", "1234567890123456789"]).is_none());
        assert!(warning(["10", "r-2"]).is_none());
    }

    #[test]
    fn labels_that_differ_in_their_writing_alone_are_refused() {
        let refused = error("text,label\n好吃,1\n难吃,0\n很好,1.0\n");
        assert!(refused.contains("\"1\" on line 2 and \"1.0\" on line 4"), "{refused}");
    }

    /// A table whose ids a spreadsheet has shortened.
    #[test]
    fn the_table_with_shortened_ids_is_refused() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases/ids_spreadsheet.csv");
        let Ok(content) = std::fs::read_to_string(&file) else {
            return stack::not_run(format!("there is no {}", file.display()));
        };
        assert!(error(&content).contains("spreadsheet"));
    }
}
