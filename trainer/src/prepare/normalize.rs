//! What of a text is kept, and what two texts are compared by.

use unicode_normalization::UnicodeNormalization;

/// The text without what no tokenizer sees: composed (NFC), control characters removed, runs of
/// white space one space, none at the ends.
///
/// Nothing that the model would see is changed, because the stream's texts come to it as they were
/// written.
pub fn normalize(text: &str) -> String {
    let visible: String =
        text.nfc().filter(|character| character.is_whitespace() || !is_invisible(*character)).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What tutorials remove as well: HTML tags and entities, addresses of web pages and mail, mentions
/// (`@name`), and the difference between full and half width (NFKC). For text scraped from the web.
pub fn clean(text: &str) -> String {
    let without_tags = remove_tags(text);
    let decoded = without_tags
        .replace("&nbsp;", " ")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&");
    let folded: String = decoded.nfkc().collect();
    normalize(&remove_addresses(&folded))
}

/// What two texts are compared by: without white space, case, width and punctuation. A text of
/// nothing else is its own key.
pub fn key(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    let key: String = folded.chars().filter(|character| is_content(*character)).collect();
    if key.is_empty() {
        folded.chars().filter(|character| !character.is_whitespace() && !is_invisible(*character)).collect()
    } else {
        key
    }
}

/// Control and format characters that people do not see. The joiner of emoji and the variation
/// selectors stay.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

/// Letters, digits, and symbols with a meaning of their own, such as emoji; no punctuation.
fn is_content(character: char) -> bool {
    character.is_alphanumeric()
        || !(character.is_ascii()
            || character.is_whitespace()
            || is_invisible(character)
            || matches!(character, '\u{a1}'..='\u{bf}' | '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{303f}' | '\u{30fb}'
                | '\u{fe00}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff65}'))
}

/// Removes `<...>` where it looks like a tag: `<` followed by a letter, `/` or `!`, and a `>` on
/// the way.
fn remove_tags(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let tag = &rest[start + 1..];
        let opens = tag.starts_with(|next: char| next.is_ascii_alphabetic() || next == '/' || next == '!');
        let end = tag.find(['<', '>']).filter(|end| opens && tag[*end..].starts_with('>'));
        kept.push_str(&rest[..start]);
        match end {
            Some(end) => {
                kept.push(' ');
                rest = &tag[end + 1..];
            }
            None => {
                kept.push('<');
                rest = tag;
            }
        }
    }
    kept + rest
}

/// Removes web and mail addresses and mentions. Chinese text follows them without a space, so they
/// end at the first character that cannot be a part of them.
fn remove_addresses(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let is_web = ["http://", "https://", "www."].iter().any(|start| starts_with(rest, start));
        let skipped = if is_web {
            length(rest, |c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | ',' | ')'))
        } else if character == '@' {
            mail_end_or_mention(rest)
        } else {
            0
        };
        if skipped == 0 {
            kept.push(character);
            rest = &rest[character.len_utf8()..];
            continue;
        }
        if character == '@' {
            let mail_name = kept.len() - length_back(&kept, is_mail_character);
            kept.truncate(mail_name);
        }
        kept.push(' ');
        rest = &rest[skipped..];
    }
    kept
}

/// The length of `@domain.org`, or of `@name` in any script; 0 where nothing follows the `@`.
fn mail_end_or_mention(text: &str) -> usize {
    match length(&text[1..], |c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        0 => 0,
        name => name + 1,
    }
}

fn is_mail_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '%' | '+' | '-')
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

fn length(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.chars().take_while(|c| belongs(*c)).map(char::len_utf8).sum()
}

fn length_back(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.chars().rev().take_while(|c| belongs(*c)).map(char::len_utf8).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_nobody_sees_is_removed_and_the_rest_is_left() {
        assert_eq!(normalize(" 很快\u{200b}，\t\n 好吃！\u{0} "), "很快， 好吃！");
        assert_eq!(normalize("cafe\u{301} 👨\u{200d}👩"), "café 👨\u{200d}👩");
        assert_eq!(normalize("\u{feff}\u{3000} \r\n"), "");
    }

    #[test]
    fn cleaning_removes_what_the_web_adds() {
        assert_eq!(clean("<b>好吃</b><br/>真&nbsp;的"), "好吃 真 的");
        assert_eq!(clean("看http://a.cn/x?y=1图片"), "看 图片");
        assert_eq!(clean("谢谢@小明 👍"), "谢谢 👍");
        assert_eq!(clean("mail me.x@example.org now"), "mail now");
        assert_eq!(clean("ＡＢＣ１２３"), "ABC123");
    }

    #[test]
    fn cleaning_leaves_what_only_looks_like_markup() {
        assert_eq!(clean("3 < 5 and 7 > 6"), "3 < 5 and 7 > 6");
        assert_eq!(clean("<3 this"), "<3 this");
        assert_eq!(clean("at @ noon"), "at @ noon");
    }

    #[test]
    fn keys_ignore_space_case_width_and_punctuation() {
        for other in ["好吃 OK!", "好吃，ｏｋ！！", "好吃\u{200b}ok～", "“好吃” (ok)…"] {
            assert_eq!(key(other), key("好吃ok"), "{other}");
        }
        assert_ne!(key("好吃"), key("好吃👍"));
        assert_ne!(key("好吃1"), key("好吃2"));
    }

    #[test]
    fn a_text_of_punctuation_alone_is_its_own_key() {
        assert_eq!(key("！！！"), key("! !!"));
        assert_ne!(key("！！！"), key("？？？"));
    }

    proptest! {
        #[test]
        fn normalizing_and_cleaning_are_stable_under_repetition(text in ".{0,40}") {
            prop_assert_eq!(normalize(&normalize(&text)), normalize(&text));
        }

        #[test]
        fn normalizing_changes_no_key(text in ".{0,40}") {
            prop_assert_eq!(key(&normalize(&text)), key(&text));
        }

        #[test]
        fn cleaning_never_panics(text in "[<>@a-z./:&; \u{4e00}-\u{4e10}]{0,60}") {
            clean(&text);
        }
    }
}
