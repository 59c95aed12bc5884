//! A vocabulary of pieces of one or more characters that texts are made of, such as 味道很棒: fewer tokens a text than single
//! characters, and each says more. Learned as a unigram language model (Kudo, 2018, <https://arxiv.org/abs/1804.10959>).

use std::collections::HashSet;

use serde_json::{Map, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::utils::parallelism;
use tokenizers::{AddedToken, Model, ModelWrapper, NormalizedString, Normalizer};

use super::Tokenizer;
use super::files::{SPECIAL, with_ends};

/// Longest piece, in characters: whole phrases beyond this are quotations, not words.
const LONGEST: usize = 8;

/// The place of `[UNK]` in [`SPECIAL`].
const UNKNOWN: usize = 1;

/// Words of Chinese have no spaces between them, so they are not torn apart before the pieces are found.
fn normalizer() -> BertNormalizer {
    BertNormalizer::new(true, false, None, true)
}

/// `None` where the texts are too few or have too many different characters for such a vocabulary.
pub(super) fn learn<T: AsRef<str> + Sync>(texts: &[T], limit: usize) -> Option<Tokenizer> {
    if characters(texts).len() + SPECIAL.len() >= limit {
        return None;
    }
    let mut tokenizer = tokenizers::Tokenizer::new(Unigram::default());
    tokenizer.with_normalizer(Some(normalizer())).ok()?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    let special = SPECIAL.map(|(_, token)| AddedToken::from(token, true)).to_vec();
    let trainer = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(u32::try_from(limit).ok()?)
        .max_piece_length(LONGEST)
        .special_tokens(special)
        .unk_token(Some(SPECIAL[UNKNOWN].1.to_owned()))
        .build()
        .ok()?;
    // One thread: sums in another order would be other sums.
    parallelism::set_parallelism(false);
    let learned = tokenizer.train(&mut TrainerWrapper::from(trainer), texts.iter().map(AsRef::as_ref));
    parallelism::set_parallelism(true);
    learned.ok()?;
    let ModelWrapper::Unigram(model) = tokenizer.get_model() else { return None };
    let model = in_fixed_order(model)?;
    tokenizer.with_model(model);
    // transformers' own BertTokenizer knows WordPiece alone.
    let settings = Map::from_iter([("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"))]);
    with_ends(tokenizer, settings).ok()
}

/// The training adds numbers in the random order of its hash tables: the last digits are cut, and equals ordered by their text,
/// so that the same texts give the same vocabulary.
fn in_fixed_order(model: &Unigram) -> Option<Unigram> {
    let rounded = |score: f64| (score * 1e6).round() / 1e6;
    let mut entries: Vec<(String, f64)> = model.iter().map(|(piece, score)| (piece.clone(), rounded(*score))).collect();
    if entries.len() < model.get_vocab_size() || entries.len() <= SPECIAL.len() {
        return None;
    }
    entries[SPECIAL.len()..].sort_by(|(a, score_a), (b, score_b)| score_b.total_cmp(score_a).then_with(|| a.cmp(b)));
    Unigram::from(entries, Some(UNKNOWN), false).ok()
}

fn characters<T: AsRef<str>>(texts: &[T]) -> HashSet<char> {
    let normalized = texts.iter().map(|text| {
        let mut text = NormalizedString::from(text.as_ref());
        normalizer().normalize(&mut text).expect("BERT's normalizer accepts every text");
        text.get().chars().filter(|character| !character.is_whitespace()).collect::<Vec<_>>()
    });
    normalized.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        let (what, how) = (["味道", "包装", "服务态度", "送餐速度"], ["很好", "非常差", "一般般", "太棒了"]);
        let pairs = what.iter().flat_map(|what| how.iter().map(move |how| format!("{what}{how}，下次再来")));
        pairs.collect()
    }

    #[test]
    fn frequent_words_become_one_token() {
        let tokenizer = Tokenizer::from_pieces(&texts(), 60);
        let encoded = tokenizer.encode_batch(&["味道非常差"], 64).unwrap().remove(0);
        assert!(encoded.len() <= 4, "{encoded:?}");
        assert_eq!((encoded[0], *encoded.last().unwrap()), (2, 3));
    }

    #[test]
    fn every_learned_text_is_spelled_and_a_stranger_is_unknown() {
        let tokenizer = Tokenizer::from_pieces(&texts(), 60);
        let unknown = tokenizer.id("[UNK]").unwrap();
        assert_eq!(unknown as usize, UNKNOWN);
        for ids in tokenizer.encode_batch(&texts(), 64).unwrap() {
            assert!(!ids.contains(&unknown), "{ids:?}");
        }
        assert!(tokenizer.encode_batch(&["味道鑫"], 64).unwrap()[0].contains(&unknown));
    }

    #[test]
    fn the_same_texts_give_the_same_vocabulary() {
        let saved = || Tokenizer::from_pieces(&texts(), 50).inner.to_string(false).unwrap();
        let first = saved();
        assert!((0..5).all(|_| saved() == first));
    }

    #[test]
    fn more_characters_than_entries_give_a_vocabulary_of_characters() {
        let tokenizer = Tokenizer::from_pieces(&texts(), 12);
        assert_eq!(tokenizer.vocab_size(), 12);
    }
}
