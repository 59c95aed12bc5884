//! `labelstream classify`: texts in, one JSON line a text out.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use classifier::{Classifier, Prediction};
use rows::{Column, Format, Input, Row};
use serde_json::{Map, Value, json};

use crate::dataset_flags::FileFlags;
use crate::model_flags::ModelFlags;

/// Texts classified at once: enough to keep all cores busy with texts of similar length, and
/// answers still come soon.
const CHUNK: usize = 1024;

/// Flags of `labelstream classify`.
///
/// Writes `{"text": ..., "label": ..., "score": ...}` for each text, in the order of the input: of
/// a file without a header, output line N answers input line N. Where there is no text (an empty
/// line, or only white space), `{"text": "", "error": "no text"}` stands in its place.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelFlags,

    /// File with a text or a JSON object a line, or a .csv; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-", conflicts_with = "text")]
    input: PathBuf,

    #[command(flatten)]
    file: FileFlags,

    /// Column or JSON field of the texts [default: text or review]
    #[arg(long)]
    text_column: Option<String>,

    /// A text to classify, in place of a file; may be given several times
    #[arg(long)]
    text: Vec<String>,

    /// The same as --format jsonl; without either, a first line that is a JSON object with a text
    /// tells
    #[arg(long)]
    json_lines: bool,

    /// Print the score of every class, as `scores`
    #[arg(long)]
    scores: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let answers = Answers { classifier: arguments.model.open()?, with_scores: arguments.scores };
    let output = BufWriter::new(io::stdout().lock());
    let result = if arguments.text.is_empty() {
        let mut options = arguments.file.options();
        options.format = options.format.or(arguments.json_lines.then_some(Format::JsonLines));
        let is_told = options.format.is_some();
        let open = || {
            let input = Input::open(&arguments.input, options, Some(Format::Lines))?;
            texts(input, Column::text(arguments.text_column.as_deref()), is_told)
        };
        // A broken file is refused before its first answer; a pipe can be read only once.
        if arguments.input.is_file() {
            open()?.try_for_each(|text| text.map(|_| ())).context("nothing was classified")?;
        }
        answers.write_all(open()?, output)
    } else {
        answers.write(arguments.text.into_iter().map(Text::plain).collect(), output)
    };
    match result {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        result => result,
    }
}

/// Whoever read the answers has enough of them (`| head`): no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// A text and the fields that its answer keeps.
#[derive(Debug, PartialEq)]
struct Text {
    text: String,
    fields: Map<String, Value>,
}

impl Text {
    fn plain(text: String) -> Self {
        Self { text, fields: Map::new() }
    }

    fn of_row(mut row: Row, column: &Column) -> Result<Self> {
        Ok(Self { text: row.take_required(column)?, fields: row.fields })
    }
}

/// The texts of a table, or of each line. Where nobody said what the lines are, the first one that
/// is not blank tells.
fn texts(input: Input, column: Column, is_told: bool) -> Result<Box<dyn Iterator<Item = Result<Text>>>> {
    let format = input.format();
    if format == Format::Csv {
        let rows = input.rows()?;
        rows.require(&column)?;
        return Ok(Box::new(rows.map(move |row| Text::of_row(row?, &column))));
    }
    let mut is_json = (is_told || format == Format::JsonLines).then_some(format == Format::JsonLines);
    Ok(Box::new(input.lines()?.map(move |line| {
        let line = line?;
        if line.is_blank() {
            return Ok(Text::plain(line.text()?.to_owned()));
        }
        let is_json = *is_json.get_or_insert_with(|| Row::of_json(&line).is_ok());
        if is_json { Text::of_row(Row::of_json(&line)?, &column) } else { Ok(Text::plain(line.text()?.to_owned())) }
    })))
}

struct Answers {
    classifier: Classifier,
    with_scores: bool,
}

impl Answers {
    /// Classifies the texts as they come, some at a time; what stands before a broken line is
    /// answered.
    fn write_all(&self, texts: impl Iterator<Item = Result<Text>>, mut output: impl Write) -> Result<()> {
        let mut waiting = Vec::with_capacity(CHUNK);
        for (before, text) in texts.enumerate() {
            match text {
                Ok(text) => waiting.push(text),
                Err(error) => {
                    self.write(waiting, output)?;
                    return Err(error.context(format!("the {before} texts before this were answered, and no more")));
                }
            }
            if waiting.len() == CHUNK {
                self.write(std::mem::take(&mut waiting), &mut output)?;
            }
        }
        self.write(waiting, output)
    }

    /// Classifies the texts and writes a line for each, in order.
    fn write(&self, inputs: Vec<Text>, mut output: impl Write) -> Result<()> {
        let texts: Vec<&str> = inputs.iter().map(|input| input.text.as_str()).filter(|text| has_text(text)).collect();
        let mut predictions = self.classifier.classify(&texts)?.into_iter();
        for Text { text, mut fields } in inputs {
            if has_text(&text) {
                let prediction = predictions.next().context("a prediction for each text: anything else is a bug")?;
                fields.insert("text".to_owned(), text.into());
                self.insert(&prediction, &mut fields);
            } else {
                // Where predictions stand, nothing else may.
                fields.retain(|name, _| !["label", "score", "scores"].contains(&name.as_str()));
                fields.insert("text".to_owned(), "".into());
                fields.insert("error".to_owned(), "no text".into());
            }
            serde_json::to_writer(&mut output, &fields).map_err(io::Error::from)?;
            output.write_all(b"\n")?;
        }
        Ok(output.flush()?)
    }

    fn insert(&self, prediction: &Prediction, fields: &mut Map<String, Value>) {
        let labels = self.classifier.classes();
        let (best, score) = prediction.best();
        fields.insert("label".to_owned(), labels.name(best).into());
        fields.insert("score".to_owned(), json!(score));
        if self.with_scores {
            let scores: Map<String, Value> =
                labels.names().iter().cloned().zip(prediction.scores.iter().map(|score| json!(score))).collect();
            fields.insert("scores".to_owned(), scores.into());
        }
    }
}

fn has_text(text: &str) -> bool {
    !text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &'static str, format: Format, is_told: bool) -> Result<Vec<Text>> {
        let input = Input::new(content.as_bytes(), "x", format, None)?;
        texts(input, Column::text(None), is_told)?.collect()
    }

    #[test]
    fn a_json_line_and_a_row_of_a_table_keep_their_other_fields_in_order() {
        let json = read(r#"{"id": 7, "text": "好吃", "stars": 5}"#, Format::Lines, false).unwrap();
        assert_eq!(json[0].text, "好吃");
        assert_eq!(serde_json::to_string(&json[0].fields).unwrap(), r#"{"id":7,"stars":5}"#);
        let table = read("id,review,stars\n7,好吃,5\n", Format::Csv, false).unwrap();
        assert_eq!(table[0].text, "好吃");
        assert_eq!(serde_json::to_string(&table[0].fields).unwrap(), r#"{"id":"7","stars":"5"}"#);
    }

    #[test]
    fn lines_are_json_where_the_first_one_is_or_where_somebody_says_so() {
        assert_eq!(read("{\n", Format::Lines, false).unwrap(), [Text::plain("{".to_owned())]);
        assert_eq!(read("{\"text\":\"a\"}\n", Format::Lines, true).unwrap()[0].text, "{\"text\":\"a\"}");
        let blank = read("{\"text\":\"a\"}\n\n", Format::Lines, false).unwrap();
        assert_eq!(blank.iter().map(|text| text.text.as_str()).collect::<Vec<_>>(), ["a", ""]);
        let blank_first = read("\n{\"text\":\"a\"}\n", Format::Lines, false).unwrap();
        assert_eq!(blank_first.iter().map(|text| text.text.as_str()).collect::<Vec<_>>(), ["", "a"]);
        assert!(read("{\"content\":\"a\"}\n", Format::Lines, false).is_err(), "a message without a text");
        let error = read("{\"text\":\"a\"}\n{\n", Format::Lines, false).unwrap_err().to_string();
        assert!(error.starts_with("x: line 2: not JSON"), "{error}");
    }

    #[test]
    fn a_reader_who_left_is_no_failure() {
        let left = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("standard input");
        assert!(is_broken_pipe(&left));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::StorageFull).into()));
    }
}
