//! Flags that all commands over labeled CSV files share.

use trainer::Columns;

/// Which columns of a CSV file to read.
#[derive(clap::Args)]
pub struct ColumnFlags {
    /// Column of the texts; by default `text` or `review`.
    #[arg(long, env = "LABELSTREAM_TEXT_COLUMN")]
    text_column: Option<String>,

    /// Column of the labels; by default `label`.
    #[arg(long, env = "LABELSTREAM_LABEL_COLUMN")]
    label_column: Option<String>,
}

impl ColumnFlags {
    /// The columns as the trainer takes them.
    pub fn columns(&self) -> Columns {
        Columns { text: self.text_column.clone(), label: self.label_column.clone() }
    }
}
