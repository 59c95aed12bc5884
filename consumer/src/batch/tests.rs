//! What fills a batch, what closes it, and the sections in it.

use prometheus_client::metrics::gauge::Gauge;
use proptest::prelude::*;

use super::*;
use crate::message::Reason;

const LIMITS: Limits = Limits { tokens: 100, records: 10, bytes: 1_000, delay: Duration::from_millis(20) };

fn batcher(limits: Limits, max_length: usize) -> Batcher {
    Batcher::new(limits, max_length, InFlight::new(usize::MAX, Gauge::default()))
}

fn record(offset: i64) -> Record {
    Record { offset, ..Record::default() }
}

fn text(characters: usize) -> Decoded {
    let text = "好".repeat(characters);
    Decoded::Review(Review { review_id: String::new(), text, created_at: None, attributes: None })
}

fn origin(partition: i32, epoch: i64, from: i64) -> Origin {
    Origin { partition, epoch: Epoch(epoch), from: NextOffset(from), at_a_time: None }
}

#[test]
fn an_empty_batcher_has_no_deadline_and_no_batch() {
    let mut batcher = batcher(LIMITS, 512);
    assert_eq!(batcher.patience(Instant::now()), None);
    assert!(batcher.take().is_none());
}

#[test]
fn the_first_record_starts_the_clock_and_later_ones_do_not() {
    let start = Instant::now();
    let mut batcher = batcher(LIMITS, 512);
    batcher.push(origin(0, 1, 0), record(0), text(1), start);
    batcher.push(origin(0, 1, 1), record(1), text(1), start + Duration::from_millis(15));
    assert_eq!(batcher.patience(start + Duration::from_millis(15)), Some(Duration::from_millis(5)));
    assert_eq!(batcher.patience(start + Duration::from_millis(30)), Some(Duration::ZERO));
    assert!(!batcher.is_full());
    batcher.take();
    assert_eq!(batcher.patience(start), None);
}

#[test]
fn tokens_records_and_bytes_each_fill_a_batch() {
    let now = Instant::now();
    let full = |records: usize, characters: usize, bytes: usize| {
        let mut batcher = batcher(LIMITS, 60);
        for offset in 0..records as i64 {
            let record = Record { payload: Some(vec![0; bytes]), ..record(offset) };
            batcher.push(origin(0, 1, offset), record, text(characters), now);
        }
        batcher.is_full()
    };
    assert!(full(10, 1, 0) && !full(9, 1, 0));
    assert!(full(2, 48, 0) && !full(2, 47, 0));
    // A long text counts as much as the model takes of it.
    assert!(full(2, 5_000, 0) && !full(1, 5_000, 0));
    assert!(full(2, 1, 500) && !full(1, 1, 999));
}

#[test]
fn a_partition_claimed_again_has_a_section_of_its_own() {
    let now = Instant::now();
    let mut batcher = batcher(LIMITS, 512);
    batcher.push(origin(0, 1, 5), record(5), text(1), now);
    batcher.push(origin(0, 2, 5), record(5), text(1), now);
    let sections = batcher.take().unwrap().sections;
    assert_eq!(sections.iter().map(|section| section.epoch).collect::<Vec<_>>(), [Epoch(1), Epoch(2)]);
}

/// A partition, a hole before the record, and what the record is.
fn records() -> impl Strategy<Value = Vec<(i32, i64, u8)>> {
    prop::collection::vec((0..4, 0..3i64, 0..3u8), 0..200)
}

proptest! {
    #[test]
    fn sections_join_without_a_hole_and_keep_every_record_in_order(records in records(), records_limit in 1..20usize) {
        let mut batcher = batcher(Limits { records: records_limit, ..LIMITS }, 512);
        let mut next = [100; 4];
        let mut expected = [const { Vec::new() }; 4];
        let mut batches = Vec::new();
        for (partition, hole, kind) in records {
            let position = &mut next[partition as usize];
            let offset = *position + hole;
            let decoded = match kind {
                0 => text(20),
                1 => Decoded::DeadLetter { reason: Reason::NotJson, detail: String::new() },
                _ => Decoded::Tombstone,
            };
            batcher.push(origin(partition, 1, *position), record(offset), decoded, Instant::now());
            expected[partition as usize].push((kind, offset));
            *position = offset + 1;
            if batcher.is_full() {
                batches.extend(batcher.take());
            }
        }
        batches.extend(batcher.take());

        let mut position = [100; 4];
        for batch in batches {
            prop_assert!(batch.records <= records_limit);
            prop_assert!(batch.tokens < LIMITS.tokens + 22);
            for section in batch.sections {
                let partition = section.partition as usize;
                prop_assert_eq!(section.from, NextOffset(position[partition]));
                position[partition] = section.to.0;
                let reviews = section.reviews.iter().map(|(record, _)| (0, record.offset));
                let dead = section.dead_letters.iter().map(|row| (1, row.kafka_offset));
                let (_, known): (Vec<_>, Vec<_>) = (reviews.clone().collect::<Vec<_>>(), dead.clone().collect::<Vec<_>>());
                let count = known.len() + reviews.len() + section.tombstones as usize;
                let here: Vec<_> = expected[partition].drain(..count).collect();
                let of = |kind| here.iter().copied().filter(move |record| record.0 == kind).collect::<Vec<_>>();
                prop_assert_eq!(reviews.collect::<Vec<_>>(), of(0));
                prop_assert_eq!(dead.collect::<Vec<_>>(), of(1));
                prop_assert_eq!(here.last().map(|(_, offset)| offset + 1), Some(section.to.0));
            }
        }
        prop_assert_eq!(position, next);
        prop_assert!(expected.iter().all(Vec::is_empty));
    }
}

#[test]
fn suspects_go_in_small_groups_and_lose_no_other_record() {
    assert_eq!(grouped(1), [(0, 4, 1, vec![0], 2), (4, 10, 1, vec![5, 9], 1)]);
    assert_eq!(grouped(2), [(0, 10, 2, vec![0, 5, 9], 3)]);
}

/// What batches of so many suspects at a time hold: from, to, reviews, dead letters, tombstones.
fn grouped(at_a_time: usize) -> Vec<(i64, i64, usize, Vec<i64>, u64)> {
    let mut batcher = batcher(LIMITS, 512);
    let letter = Decoded::DeadLetter { reason: Reason::NotJson, detail: String::new() };
    let records = [
        (0, letter.clone()),
        (1, Decoded::Tombstone),
        (2, Decoded::Tombstone),
        (3, text(1)),
        (5, letter.clone()),
        (6, Decoded::Tombstone),
        (7, text(1)),
        (9, letter),
    ];
    for (offset, decoded) in records {
        let origin = Origin { at_a_time: Some(at_a_time), ..origin(0, 1, 0) };
        batcher.push(origin, record(offset), decoded, Instant::now());
    }
    batcher.push(origin(1, 1, 3), record(3), text(1), Instant::now());
    let mut batch = batcher.take().unwrap();
    let suspects = batch.take_suspects();
    assert_eq!(batch.sections.iter().map(|section| section.partition).collect::<Vec<_>>(), [1]);
    let seen = |batch: &Batch| {
        let [section] = &batch.sections[..] else { panic!("one section a batch") };
        let letters = section.dead_letters.iter().map(|letter| letter.kafka_offset).collect::<Vec<_>>();
        (section.from.0, section.to.0, section.reviews.len(), letters, section.tombstones)
    };
    suspects.iter().map(seen).collect()
}

#[test]
fn a_position_moves_behind_what_is_no_record_after_the_records_before_it() {
    let now = Instant::now();
    let mut batcher = batcher(LIMITS, 512);
    batcher.push(origin(0, 1, 5), record(5), text(1), now);
    batcher.advance(origin(0, 1, 6), NextOffset(9), now);
    batcher.advance(origin(1, 1, 0), NextOffset(2), now);
    let batch = batcher.take().unwrap();
    let moves: Vec<_> = batch.sections.iter().map(|section| (section.from.0, section.to.0)).collect();
    assert_eq!((moves, batch.records), (vec![(5, 9), (0, 2)], 1));
}
