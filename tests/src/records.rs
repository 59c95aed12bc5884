//! Records published to a topic, and what is to become of each.

use std::time::Duration;

use harness::PATIENCE;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio::sync::watch;

/// What is to become of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// A prediction for this text.
    Prediction(String),
    /// A dead letter with this reason code.
    DeadLetter(&'static str),
    /// Nothing: the record has no value.
    Tombstone,
}

/// A record to publish.
#[derive(Clone, Debug)]
pub struct Message {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub payload: Option<Vec<u8>>,
    /// The headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The record's timestamp, in milliseconds; now, where there is none.
    pub timestamp: Option<i64>,
    /// What is to become of it.
    pub expect: Expect,
}

impl Message {
    /// A review with this text.
    pub fn review(id: &str, text: &str) -> Self {
        let payload = serde_json::json!({"review_id": id, "text": text}).to_string();
        Self::raw(payload.into_bytes(), Expect::Prediction(text.to_owned()))
    }

    /// A record with this value.
    pub fn raw(payload: impl Into<Vec<u8>>, expect: Expect) -> Self {
        Self { key: None, payload: Some(payload.into()), headers: Vec::new(), timestamp: None, expect }
    }

    /// A record that becomes a dead letter.
    pub fn bad(payload: impl Into<Vec<u8>>, reason: &'static str) -> Self {
        Self::raw(payload, Expect::DeadLetter(reason))
    }

    /// A record without a value.
    pub fn tombstone() -> Self {
        Self { payload: None, ..Self::raw([], Expect::Tombstone) }
    }

    /// The same record with a key.
    pub fn with_key(self, key: &[u8]) -> Self {
        Self { key: Some(key.to_vec()), ..self }
    }

    /// The same record with one more header.
    pub fn with_header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    /// So many records as they come in life: reviews, and here and there something else. Each of
    /// its own text.
    pub fn mixed(count: usize) -> Vec<Self> {
        (0..count).map(Self::mixed_at).collect()
    }

    /// The record at this place among them.
    pub fn mixed_at(number: usize) -> Self {
        match number % 50 {
            7 => Self::bad(format!(r#"{{"text": "{number}"#), "not_json"),
            23 => Self::bad(format!(r#"{{"review_id": "r-{number}"}}"#), "text_missing"),
            41 => Self::tombstone().with_key(format!("r-{number}").as_bytes()),
            _ => Self::review(&format!("r-{number}"), &format!("第{number}次，很快，好吃")),
        }
    }
}

/// A published record.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What was published.
    pub message: Message,
    /// The partition that it went to.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

/// A topic to publish to.
pub struct Topic {
    producer: FutureProducer,
    name: String,
    partitions: i32,
}

impl Topic {
    /// Opens a topic of so many partitions.
    pub fn open(brokers: &str, name: &str, partitions: i32) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("linger.ms", "5")
            .set("message.max.bytes", "4000000")
            .set("enable.idempotence", "true");
        let producer = config.create().expect("a producer can be made");
        Self { producer, name: name.to_owned(), partitions }
    }

    /// Publishes the messages over all partitions in turn and waits until the broker has them.
    pub async fn publish(&self, messages: &[Message]) -> Vec<Sent> {
        let mut deliveries = Vec::with_capacity(messages.len());
        for (number, message) in messages.iter().enumerate() {
            let partition = (number % self.partitions.unsigned_abs() as usize) as i32;
            let headers = message.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_ref() })
            });
            let record = FutureRecord::<[u8], [u8]> {
                topic: &self.name,
                partition: Some(partition),
                payload: message.payload.as_deref(),
                key: message.key.as_deref(),
                timestamp: message.timestamp,
                headers: Some(headers),
            };
            deliveries.push(self.producer.send_result(record).map_err(|(error, _)| error).expect("the queue has room"));
        }
        let mut sent = Vec::with_capacity(messages.len());
        for (message, delivery) in messages.iter().zip(deliveries) {
            let delivered = delivery
                .await
                .expect("the producer lives")
                .map_err(|(error, _)| error)
                .expect("the broker takes the record");
            sent.push(Sent { message: message.clone(), partition: delivered.partition, offset: delivered.offset });
        }
        self.producer.flush(PATIENCE).expect("nothing is left to send");
        sent
    }
}

/// Publishes twenty records every 50 ms, each made by its number, until it is told to stop; returns
/// them all.
pub async fn publish_steadily(
    topic: Topic,
    message: fn(usize) -> Message,
    mut stop: watch::Receiver<bool>,
) -> Vec<Sent> {
    let mut clock = tokio::time::interval(Duration::from_millis(50));
    let mut sent: Vec<Sent> = Vec::new();
    loop {
        tokio::select! {
            _ = stop.changed() => return sent,
            _ = clock.tick() => {
                let messages: Vec<Message> = (sent.len()..sent.len() + 20).map(message).collect();
                sent.extend(topic.publish(&messages).await);
            }
        }
    }
}
