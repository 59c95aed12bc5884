//! What a broker's disk does to records, on a real broker: a partition with a corrupt batch halts
//! before it and says so, the others are read to their end, and a mended one goes on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use consumer::Constant;
use harness::{Http, own_kafka, until};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use store::Version;

use crate::world::{TOPIC, World};

/// Records of one batch, and batches of one partition.
const RECORDS: i64 = 20;
const BATCHES: usize = 5;
const END: i64 = RECORDS * BATCHES as i64;

/// A batch begins with base offset, length, leader epoch, magic and checksum: byte 21 is the first
/// that the checksum covers.
const CHECKSUM: usize = 17;
const ATTRIBUTES: usize = 21;

/// Bytes to change, by batch and place in it; and whether the checksum is made to fit again.
const DAMAGES: [(usize, usize, u8, bool); 7] = [
    (2, 80, 1, false),            // a record in the middle
    (0, 80, 1, false),            // the very first batch
    (4, 80, 1, false),            // the last one
    (2, CHECKSUM, 0x80, false),   // the checksum itself
    (2, 57, 0x10, false),         // the number of records
    (2, ATTRIBUTES + 1, 7, true), // a codec that nobody knows
    (3, 16, 4, false),            // the version of the format
];

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_batch_halts_its_partition_before_it_and_no_other_and_a_mended_one_goes_on() {
    let mut kafka = own_kafka();
    let healthy = DAMAGES.len() as i32;
    kafka.create_topic(TOPIC, healthy + 1).unwrap();
    let world = World::beside(kafka.brokers()).await;
    (0..=healthy).for_each(|partition| publish(kafka.brokers(), partition));

    kafka.stop();
    let files: Vec<_> = (0..healthy).map(|partition| kafka.log_file(TOPIC, partition)).collect();
    let whole: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (file, damage) in files.iter().zip(DAMAGES) {
        corrupt(file, damage);
    }
    kafka.start_again().unwrap();

    let http = Http::on_a_free_port();
    let consumer = world.consume(Constant::new(Version(1)), |config| config.http = http.address);
    until_positions(&world, &[(healthy, END)]).await;
    let halted: Vec<_> = (0..healthy).zip(DAMAGES.map(|(batch, ..)| batch as i64 * RECORDS)).collect();
    until_positions(&world, &halted).await;
    until("every damaged partition halted", async || {
        http.metric("labelstream_partitions_halted") == Some(f64::from(healthy))
    })
    .await;
    let words = "select count(*) from positions where last_error is not null and last_error_at >= updated_at";
    until("word of each", async || world.number(words).await == Some(i64::from(healthy))).await;
    let reasons: Vec<(i32, String)> =
        sqlx::query_as("select partition, last_error from positions where last_error is not null order by partition")
            .fetch_all(&world.pool)
            .await
            .unwrap();
    for (partition, reason) in &reasons {
        println!("partition {partition}: {reason}");
    }
    // It stays so, whatever is tried again, and nothing is written past the damage.
    tokio::time::sleep(Duration::from_secs(5)).await;
    until_positions(&world, &halted).await;
    assert_eq!(http.get("/health/ready").0, 200, "one partition is read");
    assert_eq!(http.metric("labelstream_rejoins_total"), Some(0.0));

    kafka.stop();
    files.iter().zip(&whole).for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
    kafka.start_again().unwrap();
    until_positions(&world, &(0..=healthy).map(|partition| (partition, END)).collect::<Vec<_>>()).await;
    until("no halted partition", async || http.metric("labelstream_partitions_halted") == Some(0.0)).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
    assert_eq!(world.number("select count(*) from gaps").await, Some(0));
}

/// Batches of so many records each.
fn publish(brokers: &str, partition: i32) {
    let mut settings = ClientConfig::new();
    let producer: BaseProducer = settings.set("bootstrap.servers", brokers).set("linger.ms", "500").create().unwrap();
    for batch in 0..BATCHES {
        let values: Vec<String> = (0..RECORDS).map(|record| format!(r#"{{"text":"好吃 {batch} {record}"}}"#)).collect();
        for value in &values {
            let record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }
}

fn corrupt(file: &Path, (batch, place, bits, fit): (usize, usize, u8, bool)) {
    let mut bytes = fs::read(file).unwrap();
    let mut start = 0;
    let length =
        |bytes: &[u8], start: usize| 12 + i32::from_be_bytes(bytes[start + 8..start + 12].try_into().unwrap()) as usize;
    for _ in 0..batch {
        start += length(&bytes, start);
    }
    bytes[start + place] ^= bits;
    if fit {
        let end = start + length(&bytes, start);
        let checksum = crc32c(&bytes[start + ATTRIBUTES..end]);
        bytes[start + CHECKSUM..start + ATTRIBUTES].copy_from_slice(&checksum.to_be_bytes());
    }
    fs::write(file, bytes).unwrap();
}

/// <https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4>, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

async fn until_positions(world: &World, expected: &[(i32, i64)]) {
    let mut found = Vec::new();
    let waited = tokio::time::timeout(harness::PATIENCE, async {
        loop {
            let query = "select partition, next_offset from positions order by partition";
            found = sqlx::query_as(query).fetch_all(&world.pool).await.unwrap();
            if expected.iter().all(|position| found.contains(position)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let in_time = waited.await.is_ok();
    assert!(in_time, "waited in vain for {expected:?}, found {found:?}");
}
