//! Rows within a quoted text: a stray quote that another one happens to close.
//!
//! Such a table is well-formed, and a person sees at once that it is broken: the lines of one text
//! have as many fields as rows have, and in the places of labels and ids stand labels and ids. An
//! honest review of many lines has neither. What stands in a column is known at the end of the file
//! at the latest, so a text that nothing speaks against waits until then.

use std::collections::HashSet;

use anyhow::Result;

use crate::csv::Record;
use crate::location::Location;

/// So much must speak for it: two cells that stand elsewhere in their columns, as labels do, or
/// three that look like those of their columns, as ids do.
const ENOUGH: usize = 6;
/// Values and shapes of a column that are kept, texts that wait, and cells of each of them that are
/// looked at.
const MOST: usize = 1000;

/// Watches over the rows of a table.
#[derive(Default)]
pub(crate) struct Swallowed {
    columns: Vec<Values>,
    waiting: Vec<Suspect>,
}

/// What stands in a column.
#[derive(Default)]
struct Values {
    known: HashSet<String>,
    shapes: HashSet<String>,
}

/// A quoted text, all of whose lines have as many fields as rows have.
struct Suspect {
    location: Location,
    last_line: u64,
    /// Cells beside the text, by column.
    cells: Vec<(usize, String)>,
}

impl Swallowed {
    /// Takes a row of `columns` cells in.
    ///
    /// # Errors
    /// A text in it, or in an earlier row, that is several rows.
    pub fn watch(&mut self, record: &Record, columns: usize) -> Result<()> {
        if columns < 2 || record.cells.len() != columns {
            return Ok(());
        }
        self.columns.resize_with(columns, Values::default);
        for (values, cell) in self.columns.iter_mut().zip(&record.cells) {
            values.add(cell);
        }
        match Suspect::of(record) {
            Some(suspect) if self.waiting.len() < MOST => {
                self.judge(&suspect)?;
                self.waiting.push(suspect);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Judges those that waited, at the end of the file.
    pub fn end(&mut self) -> Result<()> {
        std::mem::take(&mut self.waiting).iter().try_for_each(|suspect| self.judge(suspect))
    }

    fn judge(&self, suspect: &Suspect) -> Result<()> {
        let evidence = suspect.cells.iter().map(|(column, cell)| self.columns[*column].evidence(cell));
        match evidence.sum::<Option<usize>>() {
            Some(ENOUGH..) => Err(suspect.location.error(format_args!(
                "a quoted text begins here and ends on line {}, and each of its lines looks like a row: is one quote too many? (a text that is so can be given as JSON lines)",
                suspect.last_line
            ))),
            _ => Ok(()),
        }
    }
}

impl Values {
    fn add(&mut self, cell: &str) {
        if !cell.contains('\n') && self.known.len() < MOST && !self.known.contains(cell) {
            self.known.insert(cell.to_owned());
        }
        if let Some(shape) = shape(cell)
            && self.shapes.len() < MOST
        {
            self.shapes.insert(shape);
        }
    }

    /// How much speaks for it that a cell belongs to this column; `None` where it does not.
    fn evidence(&self, cell: &str) -> Option<usize> {
        if self.known.contains(cell) {
            return Some(if cell.is_empty() { 0 } else { 3 });
        }
        self.shapes.contains(&shape(cell)?).then_some(2)
    }
}

impl Suspect {
    /// The cells beside the text in the lines of a record's only text of several lines.
    fn of(record: &Record) -> Option<Self> {
        let columns = record.cells.len();
        let mut of_lines = record.cells.iter().enumerate().filter(|(_, cell)| cell.contains('\n'));
        let ((text, cell), None) = (of_lines.next()?, of_lines.next()) else { return None };
        let last = cell.matches('\n').count();
        let (mut cells, mut texts) = (Vec::new(), Vec::new());
        for (number, line) in cell.split('\n').map(|line| line.trim_end_matches('\r')).enumerate() {
            let first = if number == 0 { text } else { 0 };
            let beyond = if number == last { text + 1 } else { columns };
            let parts: Vec<&str> = line.split(',').collect();
            if parts.len() != beyond - first {
                return None;
            }
            for (column, part) in (first..beyond).zip(parts).take(MOST) {
                if column == text {
                    texts.push(part);
                } else if cells.len() < MOST {
                    cells.push((column, part.to_owned()));
                }
            }
        }
        let is_honest = is_list(&cells) || is_prose(&cells, &texts, text);
        let location = record.location.clone();
        (!is_honest).then(|| Self { last_line: location.line + last as u64, location, cells })
    }
}

/// Whether the cells of a column count 1, 2, 3, as the points of a review do. 1, 2 alone are labels
/// too.
fn is_list(cells: &[(usize, String)]) -> bool {
    (0..=cells.iter().map(|(column, _)| *column).max().unwrap_or(0)).any(|column| {
        let of_column = cells.iter().filter(|(other, _)| *other == column).map(|(_, cell)| cell);
        of_column.clone().count() >= 3
            && of_column.zip(1..).all(|(cell, number): (_, usize)| *cell == number.to_string())
    })
}

/// Whether the commas are those of prose ("good, but slow") or stand within numbers ("4,5 Sterne").
fn is_prose(cells: &[(usize, String)], texts: &[&str], text: usize) -> bool {
    let is_number = |cell: &str| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
    let are_decimals = || {
        cells.iter().all(|(_, cell)| is_number(cell))
            && texts.iter().skip(1).all(|text| text.starts_with(|first: char| first.is_ascii_digit()))
    };
    text > 0 && (texts.iter().skip(1).any(|text| text.starts_with(' ')) || text == 1 && are_decimals())
}

/// Which characters a number, an id or a time is made of; nothing where it is a word, or too short
/// to tell.
fn shape(cell: &str) -> Option<String> {
    let is_of_it = |character: char| character.is_ascii_alphanumeric() || "-_:./+ ".contains(character);
    let has_digit = cell.bytes().any(|byte| byte.is_ascii_digit());
    let class = |character: char| match character {
        '0'..='9' => '9',
        'a'..='z' | 'A'..='Z' => 'a',
        other => other,
    };
    (has_digit && (5..=64).contains(&cell.len()) && cell.chars().all(is_of_it))
        .then(|| cell.chars().map(class).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(rows: &[&[&str]]) -> Option<u64> {
        let mut swallowed = Swallowed::default();
        for (line, row) in (2..).zip(rows) {
            let location = Location { file: "x.csv".into(), line };
            let cells = row.iter().map(|cell| (*cell).to_owned()).collect();
            if swallowed.watch(&Record { location, cells }, row.len()).is_err() {
                return Some(line);
            }
        }
        swallowed.end().err().map(|_| 0)
    }

    #[test]
    fn rows_that_a_stray_quote_has_swallowed_are_seen_wherever_the_text_stands() {
        assert_eq!(refused(&[&["1", "好"], &["0", "坏\n1,快\n0,慢"], &["1", "香"]]), Some(3));
        assert_eq!(refused(&[&["0", "坏\n1,快\r\n0,慢"], &["1", "香"]]), Some(0), "what follows tells");
        assert_eq!(refused(&[&["好", "1"], &["坏,0\n快,1\n慢", "0"]]), Some(3));
        assert_eq!(refused(&[&["7", "好", "1"], &["8", "坏,0\n7,快,1\n8,慢", "0"]]), Some(3));
        assert_eq!(refused(&[&["r-1001", "好"], &["r-1002", "坏\nr-1003,快\nr-1004,慢\nr-1005,香"]]), Some(3));
    }

    #[test]
    fn honest_reviews_of_many_lines_are_left_alone() {
        for text in [
            "好吃\n下次再来\n推荐",
            "好吃\n好评,下次再来",
            "好吃,快\n味道好,服务好\n环境好,安静",
            "三点\n1,味道好\n2,送餐快\n3,态度好",
            "Essen\n4,5 Sterne\n3,5 Sterne\n2,5 Sterne",
            "Food\ngood, but slow\nbad, very bad\ngood, in the end",
            "\n\n\n",
        ] {
            let rows: [&[&str]; 6] =
                [&["好评", "香"], &["good", text], &["1", text], &["bad", "x"], &["3", text], &["4", text]];
            assert_eq!(refused(&rows), None, "{text}");
            assert_eq!(refused(&rows.map(|row| &row[1..])), None, "{text}");
        }
    }

    #[test]
    fn labels_1_and_2_are_no_list() {
        assert!(refused(&[&["2", "great\n1,bad\n2,good"], &["1", "poor"]]).is_some());
    }
}
