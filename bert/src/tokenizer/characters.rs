//! A vocabulary of single characters: for Chinese, as good a start as any where there is no
//! pretrained model, and learned in a second.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::json;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::Tokenizer;
use super::class::{Class, SPECIAL};
use super::files::{bert, made};

pub(super) fn learn<T: AsRef<str>>(texts: &[T], limit: usize) -> Tokenizer {
    let mut counts = HashMap::new();
    for text in texts {
        count(text.as_ref(), &mut counts);
    }
    let mut entries: Vec<(String, u64)> = counts.into_iter().collect();
    // Equally frequent ones by their code, so that the same texts give the same numbers.
    entries.sort_unstable_by_key(|(entry, count)| (Reverse(*count), entry.clone()));
    let special = SPECIAL.iter().map(|(_, token)| (*token).to_owned());
    let learned = entries.into_iter().map(|(entry, _)| entry);
    let all = special.chain(learned).take(limit.max(SPECIAL.len()));
    // As the lines of a `vocab.txt`.
    let lines: Vec<String> = all.collect();
    let vocabulary = WordPiece::read_bytes(lines.join("\n").as_bytes()).expect("lines of characters are a vocabulary");
    let model =
        WordPiece::builder().vocab(vocabulary).build().expect("a WordPiece without files has nothing to fail on");
    let settings = made(
        Class::Bert,
        [("do_lower_case", json!(true)), ("tokenize_chinese_chars", json!(true)), ("strip_accents", json!(null))],
    );
    bert(model, settings, None).expect("a vocabulary that begins with the special tokens has them")
}

/// Counts the entries that WordPiece needs to spell each word of a text: its first character, and
/// `##` before each other one. Chinese characters are words of their own.
fn count(text: &str, counts: &mut HashMap<String, u64>) {
    let mut normalized = NormalizedString::from(text);
    let normalizer = BertNormalizer::new(true, true, None, true);
    normalizer.normalize(&mut normalized).expect("BERT's normalizer accepts every text");
    let mut words = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut words).expect("BERT's splitter accepts every text");
    for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
        for (position, character) in word.chars().enumerate() {
            let entry = if position == 0 { character.to_string() } else { format!("##{character}") };
            *counts.entry(entry).or_insert(0) += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_learned_text_is_spelled_without_unknown_characters() {
        let texts = ["味道不错，OK！", "不好吃 123", "Très bon 😀😀"];
        let tokenizer = Tokenizer::from_characters(&texts, 1_000);
        let unknown = tokenizer.inner.token_to_id("[UNK]").unwrap();
        for ids in tokenizer.encode_batch(&texts, 512).unwrap() {
            assert!(!ids.contains(&unknown), "{ids:?}");
        }
        let encode = |text: &str| tokenizer.encode_batch(&[text], 512).unwrap().remove(0);
        assert_eq!(encode("不").len(), 3);
        assert!(encode("鑫").contains(&unknown));
    }

    #[test]
    fn the_most_frequent_characters_come_first_and_the_limit_holds() {
        let texts = ["好好好吃吃差", "好"];
        let tokenizer = Tokenizer::from_characters(&texts, 7);
        assert_eq!(tokenizer.vocab_size(), 7);
        assert_eq!(tokenizer.encode_batch(&["好吃差"], 512).unwrap(), [[2, 5, 6, 1, 3]]);
        assert_eq!(Tokenizer::from_characters(&texts, 0).vocab_size(), 5);
    }

    #[test]
    fn the_same_texts_give_the_same_vocabulary() {
        let texts = ["各一次的字一样多", "abc cba 一二三"];
        let ids = || Tokenizer::from_characters(&texts, 12).encode_batch(&texts, 64).unwrap();
        let first = ids();
        assert!((0..20).all(|_| ids() == first));
    }
}
