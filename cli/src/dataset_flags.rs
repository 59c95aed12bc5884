//! Flags of the commands that read files of texts.

use rows::{Encoding, Format, Options};
use trainer::Columns;

/// How to read a file.
#[derive(clap::Args)]
pub struct FileFlags {
    /// Format of the file: csv, jsonl (a JSON object a line) or lines (a text a line) [default: its extension tells]
    #[arg(long)]
    format: Option<Format>,

    /// Encoding of the file, such as gb18030 or utf-16le [default: UTF-8, or what its byte-order mark says]
    #[arg(long)]
    encoding: Option<Encoding>,
}

impl FileFlags {
    /// What was said of the file.
    pub fn options(&self) -> Options {
        Options { format: self.format, encoding: self.encoding }
    }
}

/// Which columns of a file of labeled texts to read, and how.
#[derive(clap::Args)]
pub struct ColumnFlags {
    /// Column of the texts [default: text or review]
    #[arg(long)]
    text_column: Option<String>,

    /// Column of the labels [default: label]
    #[arg(long)]
    label_column: Option<String>,

    #[command(flatten)]
    file: FileFlags,
}

impl ColumnFlags {
    /// The columns as the trainer takes them.
    pub fn columns(&self) -> Columns {
        Columns { text: self.text_column.clone(), label: self.label_column.clone(), options: self.file.options() }
    }
}
