//! Records gathered until a batch is worth a forward pass: pure, the clock is the caller's.
//!
//! A batch holds sections, one for each claim it has records of. Within a section records keep
//! their order, and the section says which position it starts from and which it leaves: offsets
//! have holes, so a count would not do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{DeadLetterRow, Epoch, NextOffset};

use crate::in_flight::{Held, InFlight};
use crate::message::{Decoded, Record, Review};

/// What a batch holds at most. It may exceed the tokens and bytes by one record, never the count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Tokens, as estimated by [`estimate_tokens`].
    pub tokens: usize,
    /// Records of any kind.
    pub records: usize,
    /// Bytes of the records, which bounds memory where texts are long or dead letters many.
    pub bytes: usize,
    /// How long the first record waits for others.
    pub delay: Duration,
}

/// Records of any of the claimed partitions, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub sections: Vec<Section>,
    pub tokens: usize,
    pub records: usize,
    bytes: usize,
}

/// The records of one partition, read under one claim, from a position to the next.
#[derive(Debug)]
pub(crate) struct Section {
    pub partition: i32,
    pub epoch: Epoch,
    pub from: NextOffset,
    pub to: NextOffset,
    /// How many of its records are tried at a time, where consumers have died near them.
    pub at_a_time: Option<usize>,
    pub reviews: Vec<(Record, Review)>,
    pub dead_letters: Vec<DeadLetterRow>,
    pub tombstones: u64,
    pub held: Held,
}

/// Where a record was read, and the position that reading started from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub partition: i32,
    pub epoch: Epoch,
    pub from: NextOffset,
    /// How many records are tried at a time, where consumers have died near it.
    pub at_a_time: Option<usize>,
}

/// Gathers records into the batch that comes next.
pub(crate) struct Batcher {
    limits: Limits,
    max_length: usize,
    in_flight: Arc<InFlight>,
    batch: Batch,
    opened: Option<Instant>,
}

impl Batcher {
    /// A batcher for a model that truncates texts to `max_length` tokens.
    pub fn new(limits: Limits, max_length: usize, in_flight: Arc<InFlight>) -> Self {
        Self { limits, max_length, in_flight, batch: Batch::default(), opened: None }
    }

    /// The most tokens from now on; see [`crate::batch_size::BatchSize`].
    pub fn set_tokens(&mut self, tokens: usize) {
        self.limits.tokens = tokens;
    }

    /// Follows a change of the model: texts are truncated to so many tokens from now on.
    pub fn set_max_length(&mut self, tokens: usize) {
        self.max_length = tokens;
    }

    /// Adds a record. `origin.from` counts where this is the first record of a section: later ones
    /// continue it.
    pub fn push(&mut self, origin: Origin, record: Record, decoded: Decoded, now: Instant) {
        self.opened.get_or_insert(now);
        self.batch.records += 1;
        let bytes = record.bytes();
        self.batch.bytes += bytes;
        if let Decoded::Review(review) = &decoded {
            self.batch.tokens += estimate_tokens(&review.text, self.max_length);
        }
        let section = self.batch.section(origin, &self.in_flight);
        section.held.add_record(bytes);
        section.push(record, decoded);
    }

    /// Moves the position without a record: what lies before `to` and was not pushed is none.
    pub fn advance(&mut self, origin: Origin, to: NextOffset, now: Instant) {
        self.opened.get_or_insert(now);
        self.batch.section(origin, &self.in_flight).to = to;
    }

    /// Whether another record would be too many.
    pub fn is_full(&self) -> bool {
        let Limits { tokens, records, bytes, .. } = self.limits;
        self.batch.records >= records || self.batch.tokens >= tokens || self.batch.bytes >= bytes
    }

    /// How long to wait for more: nothing if the batch should go, `None` if it is empty.
    pub fn patience(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.opened?);
        Some(if self.is_full() { Duration::ZERO } else { self.limits.delay.saturating_sub(waited) })
    }

    /// The batch, if it has anything in it.
    pub fn take(&mut self) -> Option<Batch> {
        self.opened.take().map(|_| std::mem::take(&mut self.batch))
    }
}

impl Batch {
    /// The texts of all reviews, in order.
    pub fn texts(&self) -> Vec<&str> {
        let reviews = self.sections.iter().flat_map(|section| &section.reviews);
        reviews.map(|(_, review)| review.text.as_str()).collect()
    }

    /// The bytes that it holds of those in flight.
    pub fn held_bytes(&self) -> usize {
        self.sections.iter().map(|section| section.held.bytes()).sum()
    }

    /// Takes out what is to be tried with care: a batch for each group of reviews, in order.
    pub fn take_suspects(&mut self) -> Vec<Self> {
        let sections = std::mem::take(&mut self.sections);
        let (suspects, others) = sections.into_iter().partition(|section| section.at_a_time.is_some());
        self.sections = others;
        let suspects: Vec<Section> = suspects;
        let alone =
            |section: Section| Self { records: section.reviews.len(), sections: vec![section], ..Self::default() };
        suspects.into_iter().flat_map(Section::in_groups).map(alone).collect()
    }

    /// The section of this claim. Records come in runs of a partition, so it is mostly the last
    /// one.
    fn section(&mut self, origin: Origin, in_flight: &Arc<InFlight>) -> &mut Section {
        let same = |section: &Section| (section.partition, section.epoch) == (origin.partition, origin.epoch);
        let index = self.sections.iter().rposition(same).unwrap_or_else(|| {
            self.sections.push(Section {
                partition: origin.partition,
                epoch: origin.epoch,
                from: origin.from,
                to: origin.from,
                at_a_time: origin.at_a_time,
                reviews: Vec::new(),
                dead_letters: Vec::new(),
                tombstones: 0,
                held: Held::new(in_flight.clone(), origin.partition),
            });
            self.sections.len() - 1
        });
        &mut self.sections[index]
    }
}

impl Section {
    /// The same records and positions in sections with as many reviews as are tried at a time.
    fn in_groups(mut self) -> Vec<Self> {
        let mut reviews = std::mem::take(&mut self.reviews).into_iter();
        let mut sections: Vec<Self> = Vec::new();
        loop {
            let group: Vec<_> = reviews.by_ref().take(self.at_a_time.unwrap_or(usize::MAX)).collect();
            let Some((last, _)) = group.last() else { break };
            let to = NextOffset(last.offset + 1);
            let later = self.dead_letters.iter().position(|letter| letter.kafka_offset >= to.0);
            let later = self.dead_letters.split_off(later.unwrap_or(self.dead_letters.len()));
            let dead_letters = std::mem::replace(&mut self.dead_letters, later);
            let from = std::mem::replace(&mut self.from, to);
            // Their offsets are not kept: they go where there is room for them.
            let room = (to.0 - from.0) as u64 - (group.len() + dead_letters.len()) as u64;
            let tombstones = self.tombstones.min(room);
            self.tombstones -= tombstones;
            sections.push(Self {
                partition: self.partition,
                epoch: self.epoch,
                from,
                to,
                at_a_time: self.at_a_time,
                reviews: group,
                dead_letters,
                tombstones,
                held: Held::default(),
            });
        }
        match sections.last_mut() {
            Some(last) => {
                last.to = self.to;
                last.tombstones += self.tombstones;
                last.held = self.held;
                last.dead_letters.append(&mut self.dead_letters);
            }
            None => sections.push(self),
        }
        sections
    }

    fn push(&mut self, record: Record, decoded: Decoded) {
        self.to = NextOffset(record.offset + 1);
        match decoded {
            Decoded::Review(review) => self.reviews.push((record, review)),
            Decoded::DeadLetter { reason, detail } => self.dead_letters.push(record.into_dead_letter(reason, &detail)),
            Decoded::Tombstone => self.tombstones += 1,
        }
    }
}

/// Tokens of a text: a Chinese character is one token; letters are mostly fewer, so this errs on
/// the side of smaller batches.
pub(crate) fn estimate_tokens(text: &str, max_length: usize) -> usize {
    const SPECIAL: usize = 2; // [CLS] and [SEP]
    (text.chars().count() + SPECIAL).min(max_length)
}

#[cfg(test)]
mod tests;
