//! The texts to measure with, and as records.

use anyhow::ensure;
use serde_json::json;
use service::broker::Record;

/// `count` texts spread evenly over the file, whose rows are often sorted by label; the file again
/// and again beyond its end.
pub fn spread(texts: &[String], count: Option<usize>) -> anyhow::Result<Vec<&str>> {
    ensure!(!texts.is_empty(), "there are no texts to measure with");
    let count = count.unwrap_or(texts.len());
    let stride = (texts.len() / count.max(1)).max(1);
    let spread = (0..count).map(|number| texts[number * stride % texts.len()].as_str());
    Ok(spread.collect())
}

/// A record as the consumer reads it, with the review's id as its key.
pub fn record(id: &str, text: &str) -> Record {
    let message = json!({"review_id": id, "text": text}).to_string();
    Record { key: Some(id.into()), payload: Some(message.into()), headers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_spread_over_the_file_or_repeated() {
        let texts: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        assert_eq!(spread(&texts, Some(2)).unwrap(), ["a", "c"]);
        assert_eq!(spread(&texts, Some(6)).unwrap(), ["a", "b", "c", "d", "a", "b"]);
        assert_eq!(spread(&texts, None).unwrap(), texts);
        assert!(spread(&[], Some(2)).is_err());
    }
}
