//! The beginning of a long text: of a review of a hundred pages only the first tokens are read, so
//! only the words that they come from are looked at.

use tokenizers::{NormalizedString, Normalizer as _, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Bytes of the first prefix for each token that is wanted: more than a token has in most texts of
/// any language.
const BYTES_PER_TOKEN: usize = 8;

/// Prefixes of the text, each twice as long as the one before, and at last the text itself. The
/// tokens of each are the first ones of the text.
pub(super) fn prefixes<'a>(tokenizer: &Tokenizer, text: &'a str, tokens: usize) -> impl Iterator<Item = &'a str> {
    let first = BYTES_PER_TOKEN * tokens.max(1);
    let mut size = if text.len() > first && ends_words(tokenizer) { first } else { text.len() };
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let end = if size < text.len() { word_end(text, size) } else { text.len() };
        done = end == text.len();
        size = 2 * size.max(end);
        Some(&text[..end])
    })
}

/// Whether a word ends for this tokenizer wherever [`is_between_words`] says so, whatever follows.
fn ends_words(tokenizer: &Tokenizer) -> bool {
    matches!(tokenizer.get_normalizer(), None | Some(NormalizerWrapper::BertNormalizer(_)))
        && matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)))
        && tokenizer.get_added_tokens_decoder().values().all(|token| {
            let mut content = NormalizedString::from(token.content.as_str());
            let normalizer = tokenizer.get_normalizer().filter(|_| token.normalized);
            normalizer.is_none_or(|normalizer| normalizer.normalize(&mut content).is_ok())
                && !token.content.contains(is_between_words)
                && !content.get().contains(|character: char| character.is_whitespace())
        })
}

/// The end of the first word that ends at `size` or later.
fn word_end(text: &str, size: usize) -> usize {
    let start = text.ceil_char_boundary(size);
    text[start..].find(is_between_words).map_or(text.len(), |length| start + length)
}

/// What BERT splits at: white space that its normalizer keeps, and punctuation that no special
/// token has in it.
fn is_between_words(character: char) -> bool {
    matches!(character, ' ' | '\n' | '\r' | '\t' | '\u{3000}' | '，' | '。' | '、' | '！' | '？' | '；' | '：')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::models::wordpiece::WordPiece;
    use tokenizers::normalizers::NFKC;

    use super::*;
    use crate::tokenizer::Tokenizer as Bert;
    use crate::tokenizer::class::Class;
    use crate::tokenizer::files::{bert as bert_of, made};

    /// Has pieces of several characters, so that a word that is cut has other tokens.
    fn bert() -> Bert {
        let entries =
            "[PAD] [UNK] [CLS] [SEP] [MASK] a ab abb b ##a ##ab ##b 好 差 ， 。 ？ [ ] ! e ##e".replace(' ', "\n");
        let vocabulary = WordPiece::read_bytes(entries.as_bytes()).unwrap();
        bert_of(WordPiece::builder().vocab(vocabulary).build().unwrap(), made(Class::Bert, []), None).unwrap()
    }

    proptest! {
        #[test]
        fn a_long_text_has_the_first_tokens_of_all_its_tokens(
            // Characters that are removed make words long and tokens few, so that cuts fall among
            // the first tokens.
            text in "(([abe好差!\\[\\]]\u{301}?\u{200b}{0,8}){0,6}[ \n\t\u{3000}，。？\u{301}\u{85}]|\\[MASK\\]|\\[MASK|，\\]){0,60}",
            tokens in 2_usize..12,
        ) {
            let bert = bert();
            let ids = |tokens| bert.encode_batch(&[&text], tokens).unwrap().remove(0);
            let whole = bert.inner.encode_fast(text.as_str(), false).unwrap();
            let kept = whole.len().min(tokens - 2);
            prop_assert_eq!(&ids(tokens)[1..=kept], &whole.get_ids()[..kept]);
        }
    }

    #[test]
    fn of_a_giant_text_only_the_beginning_is_looked_at() {
        let text = "好吃，".repeat(30_000);
        let bert = bert();
        let looked_at: Vec<usize> = prefixes(&bert.inner, &text, 510).map(str::len).collect();
        assert!(looked_at[0] < 5_000, "{looked_at:?}");
        assert_eq!(looked_at.last(), Some(&text.len()));
        assert!(looked_at.windows(2).all(|pair| pair[1] >= 2 * pair[0] || pair[1] == text.len()), "{looked_at:?}");
    }

    #[test]
    fn a_text_without_an_end_of_a_word_and_one_of_another_normalizer_are_looked_at_whole() {
        let (bert, endless) = (bert(), "好".repeat(30_000));
        assert!(prefixes(&bert.inner, &endless, 16).eq([endless.as_str()]));
        let mut other = (*bert.inner).clone();
        other.with_normalizer(Some(NFKC)).unwrap();
        let text = "好吃，".repeat(30_000);
        assert!(prefixes(&other, &text, 16).eq([text.as_str()]));
    }
}
