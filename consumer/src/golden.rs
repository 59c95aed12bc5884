//! Golden texts: what a checkpoint must say of a few fixed texts, by its own manifest.
//!
//! They find what hashes and shapes cannot: a tokenizer of another model, with a vocabulary of the
//! same size.

use anyhow::{Context as _, Result, ensure};
use classifier::checkpoint::Manifest;
use serde::Deserialize;

use crate::model::Model;

/// An entry of `golden` in `manifest.json`: `{"text": "很快，好吃", "label": "好评"}`.
#[derive(Deserialize)]
struct Golden {
    text: String,
    label: String,
}

/// Whether the model says of the manifest's golden texts what it must; of none, if the manifest has
/// none.
///
/// # Errors
/// The first text with another label, or a list that cannot be read.
pub(crate) fn check(model: &mut dyn Model, manifest: &Manifest) -> Result<()> {
    let Some(golden) = manifest.extra.get("golden") else { return Ok(()) };
    let golden = Vec::<Golden>::deserialize(golden).context("the manifest's golden texts cannot be read")?;
    let texts: Vec<&str> = golden.iter().map(|golden| golden.text.as_str()).collect();
    let predictions = model.classify(&texts)?;
    for (Golden { text, label }, prediction) in golden.iter().zip(predictions) {
        let (best, score) = prediction.best();
        let said = model.classes().name(best);
        ensure!(said == label, "the golden text {text:?} must be {label}, the model says {said} ({score:.2})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use store::Version;

    use super::*;
    use crate::model::Constant;

    fn checked(golden: Value) -> Result<()> {
        let extra = json!({ "golden": golden }).as_object().unwrap().clone();
        check(&mut Constant::new(Version(1)), &Manifest { files: Vec::new(), extra })
    }

    #[test]
    fn a_model_that_says_something_else_of_a_golden_text_is_refused() {
        checked(json!([])).unwrap();
        checked(json!([{"text": "很快，好吃", "label": "positive"}])).unwrap();
        let two = json!([{"text": "很快，好吃", "label": "positive"}, {"text": "太慢了", "label": "negative"}]);
        let error = checked(two).unwrap_err().to_string();
        assert!(error.contains("太慢了") && error.contains("must be negative"), "{error}");
        checked(json!([{"text": "很快，好吃"}])).unwrap_err();
        checked(json!("很快，好吃")).unwrap_err();
    }
}
