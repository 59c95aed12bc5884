//! What is wrong with the security of a real broker is in the consumer's own log, with its cause.

use harness::{Process, SecureKafka, Storage};

#[tokio::test]
async fn the_consumer_says_why_the_broker_does_not_let_it_in() {
    let Some(secure) = SecureKafka::start() else { return };
    let storage = Storage::new().await;
    storage.promote_tiny_model(1).await;
    for (number, (brokers, properties, cause)) in secure.mistakes().into_iter().enumerate() {
        let mut command = harness::command(env!("CARGO_BIN_EXE_consumer"));
        command.args(["--brokers", &brokers, "--database-url", &storage.database]);
        command.args(["--checkpoints", &storage.checkpoints(), "--cache"]).arg(storage.path("cache"));
        command.args(properties.iter().map(|property| format!("-X{property}")));
        let consumer = Process::start(&mut command, storage.path(&format!("{number}.log")));
        consumer.until_it_says(cause).await;
        assert!(!consumer.log().contains("sasl.password"));
    }
}
