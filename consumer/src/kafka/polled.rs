//! What librdkafka hands over, in our own terms: a record, the end of a partition, what is wrong with
//! it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaErrorCode;
use store::NextOffset;

use crate::message::{Record, time_of_milliseconds};

/// Where a partition ends, as librdkafka says it: rdkafka passes on that it has ended, and not where.
pub(super) fn end_of(reason: &str) -> Option<NextOffset> {
    let (_, after) = reason.split_once("end of partition at offset ")?;
    after.split(' ').next()?.parse().ok().map(NextOffset)
}

/// What is wrong with a partition, for people.
pub(super) fn what_is_wrong(error: &KafkaError, reason: &str) -> String {
    use RDKafkaErrorCode::{BadCompression, BadMessage, InvalidMessage, MessageSizeTooLarge, NotImplemented};
    let reason = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
    match error.rdkafka_error_code() {
        Some(BadMessage | BadCompression | InvalidMessage | NotImplemented) => {
            let advice = "mend the log on the broker, or give the records up with `labelstream positions skip`";
            format!("what Kafka has there is corrupt: {reason}; {advice}")
        }
        Some(MessageSizeTooLarge) => format!("a record is too large to fetch: {reason}"),
        _ => format!("Kafka refuses to give its records: {reason}"),
    }
}

/// A record, owned.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        offset: message.offset(),
        time: message.timestamp().to_millis().and_then(time_of_milliseconds),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(headers).unwrap_or_default(),
    }
}

fn headers(headers: &BorrowedHeaders) -> Vec<(String, Option<Vec<u8>>)> {
    let header = |index| {
        let header = headers.get(index);
        (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
    };
    // rdkafka panics at a name that is not UTF-8, which Kafka forbids but no broker checks.
    let header = |index| catch_unwind(AssertUnwindSafe(|| header(index)));
    (0..headers.count()).map(|index| header(index).unwrap_or_else(|_| ("\u{fffd}".to_owned(), None))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_partition_is_found_in_what_librdkafka_says_of_it() {
        let said = "Fetch from broker 1 reached end of partition at offset 42 (HighwaterMark 43)";
        assert_eq!(end_of(said), Some(NextOffset(42)));
        assert_eq!((end_of("Fetch from broker 1 failed"), end_of("")), (None, None));
    }
}
