//! Standard output, and the progress bar: what all commands share.

use std::io::IsTerminal;
use std::panic;

use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use unicode_width::UnicodeWidthStr;

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

/// Prints columns as wide as their widest cell, two spaces apart.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) {
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
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
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
    if line.width() <= columns {
        return line;
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
