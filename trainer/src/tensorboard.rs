//! The course of a run as an event file that TensorBoard opens.
//!
//! The file is a sequence of records (`tensorflow/core/lib/io/record_writer.h`), each an `Event`
//! message (`tensorflow/core/util/event.proto`) of which we need four fields.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::metrics::Evaluation;
use crate::progress::Progress;

/// A directory's newest event file.
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// Begins a file in `directory`, which is made where it is missing; files of earlier runs stay
    /// beside it.
    ///
    /// # Errors
    /// A directory that cannot be written to.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("{}: cannot be made", directory.display()))?;
        // TensorBoard takes files whose names contain `tfevents`, in the order of their names.
        let path = directory.join(format!("events.out.tfevents.{:.6}.{}", now(), std::process::id()));
        let file = File::create_new(&path).with_context(|| format!("{}: cannot be written", path.display()))?;
        let mut events = Self { file };
        events.write(0, |event| event.bytes(3, b"brain.Event:2"))?;
        Ok(events)
    }

    /// Writes what TensorBoard shows: loss, learning rate, and every metric of the validation
    /// texts.
    ///
    /// # Errors
    /// Failure to write.
    pub fn record(&mut self, progress: &Progress) -> Result<()> {
        match progress {
            Progress::Started(_) => Ok(()),
            // A session that starts: what an earlier file says of this step and later ones is not
            // shown any more.
            Progress::Resumed { step } => {
                self.write(step + 1, |event| event.message(7, |session| session.varint(1, 1)))
            }
            Progress::Stepped { step, loss, learning_rate, .. } => {
                self.scalars(*step, &[("train/loss", *loss), ("train/learning_rate", *learning_rate)])
            }
            Progress::Evaluated { step, evaluation, .. } => {
                let scalars = scalars(evaluation);
                let scalars: Vec<(&str, f64)> = scalars.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
                self.scalars(*step, &scalars)
            }
        }
    }

    fn scalars(&mut self, step: usize, scalars: &[(&str, f64)]) -> Result<()> {
        self.write(step, |event| {
            event.message(5, |summary| {
                for (tag, value) in scalars {
                    summary.message(1, |scalar| {
                        scalar.bytes(1, tag.as_bytes());
                        scalar.float(2, *value as f32);
                    });
                }
            });
        })
    }

    fn write(&mut self, step: usize, content: impl FnOnce(&mut Message)) -> Result<()> {
        let mut event = Message::default();
        event.double(1, now());
        event.varint(2, step as u64);
        content(&mut event);
        self.file.write_all(&record(&event.0)).context("an event cannot be written")
    }
}

/// The figures of an evaluation by their tags.
fn scalars(evaluation: &Evaluation) -> Vec<(String, f64)> {
    let metrics = evaluation.metrics.iter().map(|(name, value)| (format!("valid/{name}"), *value));
    let classes = evaluation.per_class.iter().map(|class| (format!("valid/f1/{}", class.label), class.f1));
    metrics.chain(classes).collect()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// A record: length, checksum of the length, content, checksum of the content.
fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    let checksum = |bytes: &[u8]| masked(crc32c(bytes)).to_le_bytes();
    [&length[..], &checksum(&length), content, &checksum(content)].concat()
}

/// As the record format masks checksums, which may stand in content that is itself checked.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The checksum of Castagnoli's polynomial, bit by bit: an event has some hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

/// A protobuf message, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, field: u64, value: u64) {
        self.raw_varint(field << 3);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.raw_varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw_varint(field << 3 | 2);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.raw_varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn message(&mut self, field: u64, content: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        content(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// ```python
    /// from tensorboard.compat.proto.event_pb2 import Event; from tensorboard.compat.proto.summary_pb2 import Summary
    /// from tensorboard.summary.writer.record_writer import RecordWriter; import io
    /// value = Summary.Value(tag="train/loss", simple_value=0.5)
    /// event = Event(wall_time=1.5, step=300, summary=Summary(value=[value]))
    /// file = io.BytesIO(); RecordWriter(file).write(event.SerializeToString()); print(file.getvalue().hex())
    /// ```
    #[test]
    fn the_bytes_of_an_event_are_those_of_tensorboard() {
        let mut event = Message::default();
        event.double(1, 1.5);
        event.varint(2, 300);
        event.message(5, |summary| {
            summary.message(1, |scalar| {
                scalar.bytes(1, b"train/loss");
                scalar.float(2, 0.5);
            });
        });
        let hex: String = record(&event.0).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "2100000000000000017becf609000000000000f83f10ac022a130a110a0a747261696e2f6c6f7373150000003fb56a6431"
        );
    }

    #[test]
    fn a_file_begins_with_its_version_and_has_a_record_for_each_step() {
        let directory = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(directory.path()).unwrap();
        for step in 1..=3 {
            let progress = Progress::Stepped { step, loss: 0.7, learning_rate: 1e-3, examples: 32, tokens: 500 };
            events.record(&progress).unwrap();
        }
        let file = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap();
        assert!(file.file_name().to_str().unwrap().starts_with("events.out.tfevents."));
        let mut bytes = &std::fs::read(file.path()).unwrap()[..];
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[..length + 16], record(&bytes[12..12 + length]));
            records.push(&bytes[12..12 + length]);
            bytes = &bytes[length + 16..];
        }
        assert_eq!(records.len(), 4);
        assert!(records[0].ends_with(b"brain.Event:2"));
        assert!(records[3].windows(10).any(|window| window == b"train/loss"));
    }
}
