//! What a spreadsheet makes of the cells of a CSV, and how to keep it from that.

/// Whether an id looks like 1.23457E+15: what a spreadsheet has left of a long number. Many numbers
/// become one so, and none of them can be told from it.
pub fn is_shortened(id: &str) -> bool {
    let Some((digits, exponent)) = id.trim().split_once(['E', 'e']) else { return false };
    let exponent = exponent.strip_prefix('+').filter(|digits| is_number(digits));
    exponent.is_some() && digits.replace(',', ".").parse::<f64>().is_ok()
}

/// What to do about a shortened id.
pub const ADVICE: &str = "a spreadsheet has shortened it, and other ids to the same; format the column as text before the ids go in, and export again";

/// A cell that a spreadsheet shows as it is: an apostrophe stands before what it would calculate
/// (`=1+1`, `@home`), or take for a number or a date (a long id, `007`, `3-4`).
pub fn protected(cell: &str) -> String {
    if is_taken_otherwise(cell.trim_start_matches('\'')) { format!("'{cell}") } else { cell.to_owned() }
}

/// What [`protected`] was made of; any other cell is left as it is.
pub fn unprotected(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if is_taken_otherwise(cell.trim_start_matches('\'')) => rest,
        _ => cell,
    }
}

fn is_taken_otherwise(cell: &str) -> bool {
    // The wide ones count in a Chinese or Japanese Excel.
    let begins_a_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let is_short_number = cell.len() < 12 && is_number(cell) && (cell == "0" || !cell.starts_with('0'));
    let is_of_figures = cell.starts_with(|first: char| first.is_ascii_digit() || ".,($¥￥".contains(first))
        && cell.chars().all(|character| character.is_ascii_digit() || "+-./:,%eE ()$¥￥年月日".contains(character));
    begins_a_formula || is_of_figures && !is_short_number
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_that_a_spreadsheet_has_shortened_is_known() {
        for id in ["1.23457E+15", "1,23457E+15", "1E+18", " 2.5e+20 "] {
            assert!(is_shortened(id), "{id}");
        }
        for id in ["r-1", "1E", "E+15", "1E+", "12E4", "1.2", "beefE+1x", ""] {
            assert!(!is_shortened(id), "{id}");
        }
    }

    #[test]
    fn what_a_spreadsheet_would_change_is_protected_and_the_rest_is_not() {
        for cell in
            ["=1+1", "+86 好吃", "-好吃", "@home", "\tx", "\rx", "＝1", "1234567890123456789", "007", "3-4", "1E5"]
        {
            assert_eq!(protected(cell), format!("'{cell}"));
        }
        for cell in ["好吃", "r-1", "0", "12", "0.5 折", "'好吃'", "'", "", "12 点才到"] {
            assert_eq!(protected(cell), cell);
        }
    }

    proptest! {
        #[test]
        fn what_is_protected_comes_back_unchanged(cell in "'{0,3}[-=+@\t\r\n0-9eE. 好'a]{0,8}") {
            let kept = protected(&cell);
            prop_assert_eq!(unprotected(&kept), &cell);
            prop_assert!(!kept.starts_with(['=', '+', '-', '@', '\t', '\r']), "{}", kept);
        }
    }
}
