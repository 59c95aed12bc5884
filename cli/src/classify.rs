//! `labelstream classify`: texts in, one JSON line a text out.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use classifier::{Classifier, DeviceChoice, Precision, Prediction};
use serde_json::{Map, Value, json};

/// Texts classified at once: enough to keep all cores busy with texts of similar length, and answers still come soon.
const CHUNK: usize = 1024;

/// Flags of `labelstream classify`.
///
/// Writes `{"text": ..., "label": ..., "score": ...}` for each text, in the order of the input. A line without a text (empty,
/// or of white space alone) gives `{"text": "", "error": "no text"}` in its place, so output line N always answers input line N.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// Checkpoint directory in the HuggingFace layout.
    #[arg(long, env = "LABELSTREAM_CHECKPOINT")]
    checkpoint: PathBuf,

    /// File of texts, one a line, or of JSON lines; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-", conflicts_with = "text")]
    input: PathBuf,

    /// A text; may be given more than once, in place of a file.
    #[arg(long)]
    text: Vec<String>,

    /// Every line is a JSON object with a field `text`, whose other fields are kept; found out by itself where the first line is such an
    /// object.
    #[arg(long, env = "LABELSTREAM_JSON_LINES")]
    json_lines: bool,

    /// Add the score of every class, as `scores`.
    #[arg(long, env = "LABELSTREAM_SCORES")]
    scores: bool,

    /// Tokens a text is truncated to; by default what the model takes.
    #[arg(long, env = "LABELSTREAM_MAX_LENGTH")]
    max_length: Option<usize>,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// How exactly the model computes: f32, int8 on the CPU, or bf16 on a GPU; by default f32 on the CPU and bf16 on a GPU.
    #[arg(long, env = "LABELSTREAM_PRECISION")]
    precision: Option<Precision>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let mut classifier = Classifier::open_with(&arguments.checkpoint, &arguments.device.open()?, arguments.precision)?;
    if let Some(tokens) = arguments.max_length {
        classifier = classifier.with_max_length(tokens);
    }
    let answers = Answers { classifier, with_scores: arguments.scores };
    let output = BufWriter::new(io::stdout().lock());
    let result = if arguments.text.is_empty() {
        let name = if arguments.input == Path::new("-") {
            "standard input".into()
        } else {
            arguments.input.display().to_string()
        };
        answer_lines(&answers, open(&arguments.input)?, output, arguments.json_lines).with_context(|| name)
    } else {
        let inputs = arguments.text.into_iter().map(Input::plain).collect();
        answers.write(inputs, output)
    };
    match result {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        result => result,
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Whoever read the answers has enough of them (`| head`): no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// A text and the fields that its answer keeps.
struct Input {
    text: String,
    fields: Map<String, Value>,
}

impl Input {
    fn plain(text: String) -> Self {
        Self { text, fields: Map::new() }
    }

    fn of_json(line: &str) -> Result<Self> {
        let Value::Object(mut fields) = serde_json::from_str(line).context("not JSON")? else {
            bail!("not a JSON object");
        };
        let Some(Value::String(text)) = fields.shift_remove("text") else {
            bail!("no field `text` that is a string");
        };
        Ok(Self { text, fields })
    }
}

fn answer_lines(answers: &Answers, input: impl BufRead, mut output: impl Write, json_lines: bool) -> Result<()> {
    let mut inputs = Vec::with_capacity(CHUNK);
    let mut json_lines = json_lines.then_some(true);
    for (number, line) in input.lines().enumerate() {
        let place = || format!("line {}", number + 1);
        let line = line.with_context(place)?;
        let line = if number == 0 { line.trim_start_matches('\u{feff}') } else { &line };
        let is_json = *json_lines.get_or_insert_with(|| Input::of_json(line).is_ok());
        inputs.push(if is_json && !line.trim().is_empty() {
            Input::of_json(line).with_context(place)?
        } else {
            Input::plain(line.to_owned())
        });
        if inputs.len() == CHUNK {
            answers.write(std::mem::take(&mut inputs), &mut output)?;
        }
    }
    answers.write(inputs, &mut output)?;
    Ok(())
}

struct Answers {
    classifier: Classifier,
    with_scores: bool,
}

impl Answers {
    /// Classifies the texts and writes a line for each, in order.
    fn write(&self, inputs: Vec<Input>, mut output: impl Write) -> Result<()> {
        let texts: Vec<&str> = inputs.iter().map(|input| input.text.as_str()).filter(|text| has_text(text)).collect();
        let mut predictions = self.classifier.classify(&texts)?.into_iter();
        for Input { text, mut fields } in inputs {
            if has_text(&text) {
                let prediction = predictions.next().context("a prediction for each text: anything else is a bug")?;
                fields.insert("text".to_owned(), text.into());
                self.insert(&prediction, &mut fields);
            } else {
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

    #[test]
    fn a_json_line_keeps_its_other_fields_in_order() {
        let input = Input::of_json(r#"{"id": 7, "text": "好吃", "stars": 5}"#).unwrap();
        assert_eq!(input.text, "好吃");
        assert_eq!(serde_json::to_string(&input.fields).unwrap(), r#"{"id":7,"stars":5}"#);
    }

    #[test]
    fn a_json_line_without_a_text_says_what_is_missing() {
        for (line, message) in [("[1]", "not a JSON object"), (r#"{"text": 5}"#, "field `text`"), ("{", "not JSON")] {
            let error = Input::of_json(line).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_reader_who_left_is_no_failure() {
        let left = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("standard input");
        assert!(is_broken_pipe(&left));
        assert!(!is_broken_pipe(&io::Error::from(io::ErrorKind::StorageFull).into()));
    }
}
