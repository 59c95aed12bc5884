//! The services as the demo runs them, inside its own process.

use std::net::TcpListener;

use clap::Parser;

use super::servers::Servers;
use super::{Arguments, PIPELINE};

/// The consumer as its command line would have it: whatever else the environment sets holds here too.
pub fn consumer(arguments: &Arguments, place: &Servers, addresses: &Addresses) -> anyhow::Result<consumer::Config> {
    let cache = place.files.join("cache").display().to_string();
    let flags = [
        ("--brokers", place.kafka.brokers.as_str()),
        ("--topic", &arguments.topic),
        ("--group", PIPELINE),
        ("--pipeline", PIPELINE),
        ("--database-url", &place.database_url),
        ("--checkpoints", &place.checkpoints),
        ("--cache", &cache),
        ("--http", &addresses.consumer),
    ];
    let mut words = command_line("consumer", &flags);
    if place.broker_is_private() {
        // The in-process broker answers a fetch that found nothing only when the wait is over.
        words.push("-Xfetch.wait.max.ms=20".to_owned());
    }
    words.extend(place.kafka.settings.as_flags());
    Ok(consumer::Config::try_parse_from(words)?)
}

/// The trainer as its command line would have it: linear models, because a round of theirs takes seconds.
pub fn trainer(place: &Servers, addresses: &Addresses, labeled: usize) -> anyhow::Result<trainer::service::Config> {
    let work = place.files.join("rounds").display().to_string();
    let new_labels = labeled.max(2).to_string();
    // Of few reviews, such as a file of one's own has, few are held out.
    let held_out = (labeled / 8).clamp(1, 50).to_string();
    let each = (labeled / 80).clamp(1, 5).to_string();
    let flags = [
        ("--database-url", place.database_url.as_str()),
        ("--checkpoints", &place.checkpoints),
        ("--base", "new-linear"),
        ("--from", "base"),
        ("--min-new-labels", &new_labels),
        ("--min-held-out", &held_out),
        ("--min-held-out-per-class", &each),
        ("--min-per-class", &each),
        ("--poll", "0.5"),
        ("--work", &work),
        ("--http", &addresses.trainer),
    ];
    Ok(trainer::service::Config::try_parse_from(command_line("trainer", &flags))?)
}

fn command_line(program: &str, flags: &[(&str, &str)]) -> Vec<String> {
    let flags = flags.iter().flat_map(|(flag, value)| [flag, value]).map(|word| (*word).to_owned());
    std::iter::once(program.to_owned()).chain(flags).collect()
}

/// Where the services answer: at their usual addresses, or at others if something listens there.
pub struct Addresses {
    pub consumer: String,
    pub trainer: String,
}

impl Addresses {
    pub fn free() -> anyhow::Result<Self> {
        // Both are held until both are found.
        let listen = |usual| TcpListener::bind(usual).or_else(|_| TcpListener::bind("127.0.0.1:0"));
        let (consumer, trainer) = (listen("127.0.0.1:9100")?, listen("127.0.0.1:9101")?);
        let address = |listener: TcpListener| listener.local_addr().map(|address| address.to_string());
        Ok(Self { consumer: address(consumer)?, trainer: address(trainer)? })
    }
}
