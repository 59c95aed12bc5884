//! The three files of a prepared data set.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};

use super::Prepared;
use crate::labeled_rows::Row;

/// The names of the files: training, validation, test.
pub const FILES: [&str; 3] = ["train_data.csv", "valid_data.csv", "test_data.csv"];

/// Writes the three files, columns `label` and `text`, into a directory that is made where there is none.
///
/// Each file is there whole or not at all; a reader never sees half of one.
pub fn write(prepared: &Prepared, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
    for (name, rows) in FILES.into_iter().zip([&prepared.train, &prepared.valid, &prepared.test]) {
        let path = directory.join(name);
        write_file(&path, rows).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}

fn write_file(path: &Path, rows: &[Row]) -> Result<()> {
    let unfinished = path.with_extension("csv.unfinished");
    let file = File::create(&unfinished)?;
    let mut writer = csv::Writer::from_writer(&file);
    writer.write_record(["label", "text"])?;
    for row in rows {
        writer.write_record([&row.label, &row.text])?;
    }
    writer.flush()?;
    drop(writer);
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    Ok(())
}
