//! Files that are no text, by their first bytes: what they are, and what to do about it.

use anyhow::{Result, bail};

/// Bytes looked at: enough for the longest beginning below, and for the header of a table.
pub(crate) const HEAD: usize = 512;

const SAVE: &str = "save it as a CSV in UTF-8 (in a spreadsheet: \"CSV UTF-8\")";
const UNPACK: &str = "unpack it first";
const EXPORT: &str = "export it as a CSV in UTF-8, or as JSON lines";

/// Beginnings, what they are of, and the advice.
const KINDS: [(&[u8], &str, &str); 22] = [
    (b"PK\x03\x04", "an Excel workbook (.xlsx) or another zip archive", SAVE),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", SAVE),
    (b"\t\x08\x10\0", "an old Excel workbook (.xls)", SAVE),
    (b"<html", "a page of HTML", SAVE),
    (b"<!doctype html", "a page of HTML", SAVE),
    (b"<table", "a page of HTML", SAVE),
    (b"<?xml", "XML", SAVE),
    (b"{\\rtf", "a document (.rtf)", SAVE),
    (b"%PDF-", "a PDF", EXPORT),
    (b"PAR1\x15", "a Parquet file", EXPORT),
    (b"ARROW1\0\0", "an Arrow file", EXPORT),
    (b"Obj\x01", "an Avro file", EXPORT),
    (b"SQLite format 3\0", "a SQLite database", EXPORT),
    (b"\x1f\x8b", "compressed with gzip", UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK),
    (b"\xfd7zXZ\0", "compressed with xz", UNPACK),
    (b"BZh91AY&SY", "compressed with bzip2", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", UNPACK),
    (b"\x89PNG", "a picture", EXPORT),
    (b"\xff\xd8\xff", "a picture", EXPORT),
    (b"version https://git-lfs.github.com", "a pointer of Git LFS, not the file itself", "run `git lfs pull`"),
];

/// Refuses a file that begins as no text does.
pub(crate) fn refuse_other_kinds(name: &str, head: &[u8], is_encoding_told: bool) -> Result<()> {
    for (beginning, kind, advice) in KINDS {
        if head.get(..beginning.len()).is_some_and(|head| head.eq_ignore_ascii_case(beginning)) {
            bail!("{name}: {kind}: {advice}");
        }
    }
    if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") {
        bail!("{name}: UTF-32: {SAVE}");
    }
    let has_mark = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    let nuls = |first: usize| head.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    if !is_encoding_told && !has_mark && nuls(0).max(nuls(1)) * 3 > head.len() {
        let encoding = if nuls(0) > nuls(1) { "utf-16be" } else { "utf-16le" };
        bail!("{name}: line 1: NUL characters; is the file UTF-16? then give --encoding {encoding}");
    }
    Ok(())
}
