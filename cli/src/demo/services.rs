//! The services as the demo runs them, inside its own process.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use service::{CacheArguments, CheckpointArguments, DatabaseArguments};
use trainer::Base;
use trainer::service::From;

use super::servers::Servers;
use super::{Arguments, PIPELINE};

/// The consumer over the demo's servers.
pub fn consumer(arguments: &Arguments, servers: &Servers, addresses: &Addresses) -> consumer::Config {
    let mut kafka = servers.kafka.clone();
    if servers.broker_is_private() {
        // The in-process broker answers a fetch that found nothing only when the wait is over.
        let quick = "fetch.wait.max.ms=20".parse().expect("a property is key=value");
        kafka.settings.kafka_properties.push(quick);
    }
    consumer::Config {
        kafka,
        topic: arguments.topic.clone(),
        group: PIPELINE.to_owned(),
        database: DatabaseArguments::new(&*servers.database_url),
        checkpoints: CheckpointArguments { url: servers.checkpoints.clone() },
        cache: CacheArguments { directory: Some(servers.files.join("cache")) },
        http: addresses.consumer,
        ..consumer::Config::default()
    }
}

/// The page over the demo's servers.
pub fn page(arguments: &Arguments, servers: &Servers, addresses: &Addresses) -> page::Config {
    page::Config {
        database: DatabaseArguments::new(&*servers.database_url),
        http: addresses.page,
        pipeline: PIPELINE.to_owned(),
        checkpoints: Some(servers.checkpoints.clone()),
        cache: CacheArguments { directory: Some(servers.files.join("page")) },
        brokers: Some(servers.kafka.brokers.clone()),
        kafka: servers.kafka.settings.clone(),
        topic: arguments.topic.clone(),
        ..page::Config::default()
    }
}

/// The trainer: linear models, because a round of theirs takes seconds; with an encoder, students
/// of it.
pub fn trainer(
    arguments: &Arguments,
    servers: &Servers,
    addresses: &Addresses,
    labeled: usize,
) -> trainer::service::Config {
    // Of few reviews, such as a file of one's own has, few are held out.
    let each_class = (labeled / 80).clamp(1, 5);
    trainer::service::Config {
        database: DatabaseArguments::new(&*servers.database_url),
        checkpoints: CheckpointArguments { url: servers.checkpoints.clone() },
        base: if arguments.encoder.is_some() { Base::New } else { Base::NewLinear },
        encoder: arguments.encoder.clone(),
        from: From::Base,
        min_new_labels: labeled.max(2) as i64,
        min_held_out: (labeled / 8).clamp(1, 50),
        min_held_out_per_class: each_class,
        min_per_class: each_class,
        poll: Duration::from_millis(500),
        work: Some(servers.files.join("rounds")),
        http: addresses.trainer,
        ..trainer::service::Config::default()
    }
}

/// Where the services answer: at their usual addresses, or at others if something listens there.
pub struct Addresses {
    pub consumer: SocketAddr,
    pub trainer: SocketAddr,
    pub page: SocketAddr,
}

impl Addresses {
    pub fn free() -> anyhow::Result<Self> {
        // All are held until all are found.
        let listen = |usual| TcpListener::bind(usual).or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let [consumer, trainer, page] =
            [listen("127.0.0.1:9100")?, listen("127.0.0.1:9101")?, listen("127.0.0.1:9102")?];
        Ok(Self { consumer: consumer.local_addr()?, trainer: trainer.local_addr()?, page: page.local_addr()? })
    }
}
