//! Standard output, and the progress bar: what all commands share.
//!
//! What comes from files, messages and databases may hold characters that act on a terminal, or that
//! turn the order of a line around. `println!`, `print!` and `eprintln!` are therefore this
//! module's in the whole program: they show such characters as JSON writes them, so that JSON stays
//! what it is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::panic;

use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use unicode_width::UnicodeWidthStr;

macro_rules! println {
    () => { ::std::println!() };
    ($($argument:tt)*) => { ::std::println!("{}", $crate::print::visible(&format!($($argument)*))) };
}

macro_rules! print {
    ($($argument:tt)*) => { ::std::print!("{}", $crate::print::visible(&format!($($argument)*))) };
}

macro_rules! eprintln {
    () => { ::std::eprintln!() };
    ($($argument:tt)*) => { ::std::eprintln!("{}", $crate::print::visible(&format!($($argument)*))) };
}

/// A text in which every character stands for itself but the line feed: `\u001b` in the place of
/// an escape.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if acts(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // A String takes everything.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Controls, marks of direction, and what is never seen.
fn acts(character: char) -> bool {
    character != '\n'
        && (character.is_control()
            || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'))
}

/// An error as it may be shown.
pub fn visible_error(error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    match visible(&text) {
        Cow::Borrowed(_) => error,
        Cow::Owned(shown) => anyhow::anyhow!(shown),
    }
}

/// Ends the program without a word when the reader of its output has gone (`labelstream ... |
/// head`), where the standard library's print macros would panic.
pub fn end_quietly_on_a_broken_pipe() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.contains("Broken pipe")) {
            // As a shell reports a program that SIGPIPE ended.
            std::process::exit(141);
        }
        usual(panic);
    }));
}

/// Prints one JSON value, for programs that read on.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Says on standard error what a person should know of a result.
pub fn warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// A result as JSON, with the field `warnings` where there are any.
pub fn with_warnings(result: &impl serde::Serialize, warnings: &[String]) -> anyhow::Result<serde_json::Value> {
    let mut json = serde_json::to_value(result)?;
    if let Some(fields) = json.as_object_mut().filter(|_| !warnings.is_empty()) {
        fields.insert("warnings".to_owned(), warnings.into());
    }
    Ok(json)
}

/// Prints columns as wide as their widest cell, two spaces apart.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| on_one_line(cell))).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].width());
        cells.chain([header[column].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell}{:1$}", "", width - cell.width()));
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(header);
    for row in &rows {
        line(row.each_ref().map(String::as_str));
    }
}

fn on_one_line(cell: &str) -> String {
    visible(cell).replace('\n', "\\n")
}

/// A line on standard error that moves, on a terminal only.
pub fn progress_bar(length: Option<u64>, template: &str) -> ProgressBar {
    let terminal = std::io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(template).expect("a template that cannot be read is a bug");
    ProgressBar::with_draw_target(length, target).with_style(style)
}

/// A text on one line, cut to so many columns of a terminal.
pub fn shortened(text: &str, columns: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = visible(&line);
    if line.width() <= columns {
        return line.into_owned();
    }
    let mut short = String::new();
    for character in line.chars() {
        short.push(character);
        if short.width() >= columns {
            short.pop();
            break;
        }
    }
    short + "…"
}

/// How long ago, in the largest unit that fits.
pub fn ago(time: DateTime<Utc>) -> String {
    let seconds = (Utc::now() - time).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{sign}{}", groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_acts_on_no_terminal_and_json_stays_what_it_is() {
        assert_eq!(visible("很快，好吃 👍\n"), "很快，好吃 👍\n");
        assert_eq!(visible("a\u{1b}[2Jb\r\t\u{7f}\u{9b}"), "a\\u001b[2Jb\\u000d\\u0009\\u007f\\u009b");
        assert_eq!(visible("好\u{202e}吃\u{2066}\u{feff}"), "好\\u202e吃\\u2066\\ufeff");
        let text = "\u{1b}\u{202e}\u{9b}\u{e0041}\u{2028}\"\\";
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(serde_json::from_str::<String>(&visible(&json)).unwrap(), text);
        assert_eq!(shortened("\u{1b}\u{1b}", 7), "\\u001b…");
        assert_eq!(on_one_line("a\nb"), "a\\nb");
        assert_eq!(visible_error(anyhow::anyhow!("\u{1b}").context("x")).to_string(), "x: \\u001b");
    }

    #[test]
    fn a_shortened_text_is_no_wider_than_asked() {
        assert_eq!(shortened("很快，好吃", 10), "很快，好吃");
        assert_eq!(shortened("很快，\n好吃", 6), "很快…");
        assert!(shortened("很快，好吃，味道足", 9).width() <= 9);
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 1_234_567, -1234].map(grouped), ["0", "999", "1,000", "1,234,567", "-1,234"]);
    }
}
