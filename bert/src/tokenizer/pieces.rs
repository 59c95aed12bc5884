//! A vocabulary of pieces of one or more characters that texts are made of, such as 味道很棒: fewer
//! tokens a text than single characters, and each says more. Learned as a unigram language model
//! (Kudo, 2018, <https://arxiv.org/abs/1804.10959>).

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::json;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::utils::parallelism;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::Tokenizer;
use super::class::{Class, SPECIAL};
use super::completed::with_ends;
use super::files::made;

/// Longest piece, in characters: whole phrases beyond this are quotations, not words.
const LONGEST: usize = 8;

/// What the training takes from the score of a character that it has left out for each one after
/// the first.
const PENALTY: f64 = 1e-4;

/// Lent to one training at a time, since the number of threads is set for the whole process.
static ONE_THREAD: Mutex<()> = Mutex::new(());

/// The place of `[UNK]` in [`SPECIAL`].
const UNKNOWN: usize = 1;

/// Words of Chinese have no spaces between them, so they are not torn apart before the pieces are
/// found.
fn normalizer() -> BertNormalizer {
    BertNormalizer::new(true, false, None, true)
}

/// `None` where the texts are too few or have too many different characters for such a vocabulary.
///
/// The same texts give the same vocabulary: words are counted in the order of their text, and not,
/// as `Tokenizer::train` does, in that of a hash table with a new seed each time, which decides
/// between pieces that are equally good.
pub(super) fn learn<T: AsRef<str>>(texts: &[T], limit: usize) -> Option<Tokenizer> {
    let words = words(texts);
    let mut characters: Vec<char> = words.keys().flat_map(|word| word.chars()).collect();
    characters.sort_unstable();
    characters.dedup();
    if characters.len() + SPECIAL.len() >= limit {
        return None;
    }
    let special = SPECIAL.map(|(_, token)| AddedToken::from(token, true)).to_vec();
    let trainer = UnigramTrainer::builder()
        .show_progress(false)
        .vocab_size(u32::try_from(limit).ok()?)
        .max_piece_length(LONGEST)
        .special_tokens(special)
        .unk_token(Some(SPECIAL[UNKNOWN].1.to_owned()))
        .build()
        .ok()?;
    let mut learned = Unigram::default();
    {
        // Sums in another order would be other sums.
        let _one_thread = ONE_THREAD.lock().expect("nobody panics while training: anything else is a bug");
        parallelism::set_parallelism(false);
        let trained = trainer.do_train(words.into_iter().collect(), &mut learned);
        parallelism::set_parallelism(true);
        trained.ok()?;
    }
    let mut tokenizer = tokenizers::Tokenizer::new(in_fixed_order(&learned)?);
    tokenizer.with_normalizer(Some(normalizer())).ok()?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    // transformers' own BertTokenizer knows WordPiece alone.
    let settings = made(Class::AsItStands, SPECIAL.map(|(name, token)| (name, json!(token))));
    let [_, _, (_, first), (_, last), _] = SPECIAL;
    with_ends(tokenizer, settings, [first.to_owned(), last.to_owned()], None).ok()
}

/// How often each word of the normalized texts occurs.
fn words<T: AsRef<str>>(texts: &[T]) -> BTreeMap<String, u32> {
    let normalizer = normalizer();
    let mut words = BTreeMap::new();
    for text in texts {
        let mut text = NormalizedString::from(text.as_ref());
        normalizer.normalize(&mut text).expect("BERT's normalizer accepts every text");
        let mut text = PreTokenizedString::from(text);
        BertPreTokenizer.pre_tokenize(&mut text).expect("BERT's pre-tokenizer accepts every text");
        for (word, _, _) in text.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            *words.entry(word.to_owned()).or_insert(0) += 1;
        }
    }
    words
}

/// Characters that the training has left out come back in the random order of a hash table, each
/// with a penalty more than the one before: their scores are dealt out again in the order of the
/// characters, and equals ordered by their text.
fn in_fixed_order(model: &Unigram) -> Option<Unigram> {
    let mut entries: Vec<(String, f64)> = model.iter().cloned().collect();
    if entries.len() <= SPECIAL.len() {
        return None;
    }
    let pieces = &mut entries[SPECIAL.len()..];
    let lowest = pieces.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let came_back = |entry: &&mut (String, f64)| {
        let penalties = (entry.1 - lowest) / PENALTY;
        entry.0.chars().count() == 1 && (penalties - penalties.round()).abs() < 1e-6
    };
    let mut back: Vec<&mut (String, f64)> = pieces.iter_mut().filter(came_back).collect();
    let mut scores: Vec<f64> = back.iter().map(|(_, score)| *score).collect();
    scores.sort_by(f64::total_cmp);
    back.sort_by(|(a, _), (b, _)| a.cmp(b));
    back.into_iter().zip(scores).for_each(|((_, old), score)| *old = score);
    pieces.sort_by(|(a, score_a), (b, score_b)| score_b.total_cmp(score_a).then_with(|| a.cmp(b)));
    Unigram::from(entries, Some(UNKNOWN), false).ok()
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
        for encoded in tokenizer.encode_batch(&["味道", "服务态度", "送餐速度"], 64).unwrap() {
            assert_eq!((encoded.len(), encoded[0], encoded[2]), (3, 2, 3), "{encoded:?}");
        }
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
        // Many pieces are equally good here, and some characters are left out at first.
        let repetitive: Vec<String> = (0..64_usize)
            .map(|index| "送餐很快味道一般".chars().cycle().skip(index * 5 % 8).take(2 + index * 3 % 11).collect())
            .collect();
        for (texts, limit) in [(texts(), 50), (repetitive, 30)] {
            let saved = || Tokenizer::from_pieces(&texts, limit).inner.to_string(false).unwrap();
            let first = saved();
            assert!((0..5).all(|_| saved() == first), "{first}");
        }
    }

    #[test]
    fn more_characters_than_entries_give_a_vocabulary_of_characters() {
        let tokenizer = Tokenizer::from_pieces(&texts(), 12);
        assert_eq!(tokenizer.vocab_size(), 12);
    }
}
