//! The flags of Kafka: brokers, librdkafka's properties, and where its secrets come from.
//!
//! A secret stands in the environment (`LABELSTREAM_KAFKA_SASL_PASSWORD` is `sasl.password`) or in
//! a file, and in no log or error.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};

use crate::Secret;

/// Where Kafka is.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct KafkaArguments {
    /// Kafka brokers to start from, separated by commas
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    pub brokers: String,

    /// How to talk to it.
    #[command(flatten)]
    pub settings: KafkaSettings,
}

/// What librdkafka is told besides the brokers.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct KafkaSettings {
    /// A librdkafka property, key=value; may be given several times
    #[arg(
        short = 'X',
        long = "kafka-property",
        env = "LABELSTREAM_KAFKA_PROPERTY",
        hide_env_values = true,
        value_delimiter = ';',
        value_name = "KEY=VALUE",
        value_parser = PropertyParser
    )]
    pub kafka_properties: Vec<KafkaProperty>,

    /// A file of librdkafka properties, one key=value a line: the place for passwords, besides the
    /// environment
    #[arg(long, env = "LABELSTREAM_KAFKA_CONFIG", value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,

    /// The properties that have variables of their own: LABELSTREAM_KAFKA_SASL_*, _SSL_* and
    /// _SECURITY_PROTOCOL.
    #[arg(skip = properties_of(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))))]
    pub environment: Vec<KafkaProperty>,
}

impl KafkaSettings {
    /// The same for a broker of our own, which knows nothing of the secrets in the environment.
    pub fn without_environment(self) -> Self {
        Self { environment: Vec::new(), ..self }
    }

    /// The file of the authorities whose certificates are taken, where one is named.
    ///
    /// # Errors
    /// As [`Self::properties`].
    pub fn authorities(&self) -> Result<Option<PathBuf>> {
        let properties = self.properties()?;
        let named = properties.iter().rev().find(|property| property.key == "ssl.ca.location");
        Ok(named.map(|property| PathBuf::from(property.value.expose())))
    }

    /// Every property: those of the file, then of the environment, then of the command line. The
    /// last of a key holds.
    ///
    /// # Errors
    /// A file that cannot be read. No message shows a value.
    pub fn properties(&self) -> Result<Vec<KafkaProperty>> {
        let mut properties = match &self.kafka_config {
            Some(file) => read(file).with_context(|| format!("cannot use {}", file.display()))?,
            None => Vec::new(),
        };
        properties.extend(self.environment.iter().chain(&self.kafka_properties).cloned());
        Ok(properties)
    }
}

/// librdkafka's properties in an environment: `LABELSTREAM_KAFKA_SASL_PASSWORD` is `sasl.password`,
/// and so on for every property that begins with `sasl.` or `ssl.`, and for `security.protocol`.
fn properties_of(environment: impl IntoIterator<Item = (String, String)>) -> Vec<KafkaProperty> {
    let property = |(name, value): (String, String)| {
        let key = name.strip_prefix("LABELSTREAM_KAFKA_")?.to_lowercase().replace('_', ".");
        let known = key.starts_with("sasl.") || key.starts_with("ssl.") || key == "security.protocol";
        known.then(|| KafkaProperty { key, value: value.into() })
    };
    environment.into_iter().filter_map(property).collect()
}

fn read(file: &Path) -> Result<Vec<KafkaProperty>> {
    let text = std::fs::read_to_string(file)?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| line.parse().map_err(|error| anyhow!("line {}: {error}", number + 1)))
        .collect()
}

/// One `key=value` for librdkafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaProperty {
    /// librdkafka's name of the property.
    pub key: String,
    /// Its value, which may be a password.
    pub value: Secret,
}

/// Parses a property for clap, whose own message would repeat the value, which may be a password.
#[derive(Clone)]
struct PropertyParser;

impl TypedValueParser for PropertyParser {
    type Value = KafkaProperty;

    fn parse_ref(&self, _: &Command, _: Option<&Arg>, value: &OsStr) -> Result<KafkaProperty, clap::Error> {
        let refused = |why: &str| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("--kafka-property (or its variable): {why}\n"))
        };
        value.to_str().ok_or_else(|| refused("not UTF-8"))?.parse().map_err(|why: String| refused(&why))
    }
}

impl FromStr for KafkaProperty {
    type Err = String;

    fn from_str(property: &str) -> Result<Self, Self::Err> {
        // The message must not repeat the value: it may be a password.
        let (key, value) = property.split_once('=').ok_or("expected key=value")?;
        Ok(Self { key: key.trim().to_owned(), value: value.trim().into() })
    }
}

#[cfg(feature = "kafka")]
mod client {
    use rdkafka::ClientConfig;
    use rdkafka::config::RDKafkaLogLevel;
    use rdkafka::error::KafkaError;

    use super::*;

    impl KafkaArguments {
        /// The configuration of a client: `defaults`, then the properties, then the brokers.
        ///
        /// # Errors
        /// A property that librdkafka does not know, or a value that it refuses. No message shows a
        /// secret.
        pub fn client(&self, defaults: &[(&str, &str)]) -> Result<ClientConfig> {
            let mut client = ClientConfig::new();
            client.set("client.id", "labelstream");
            // Why a broker hangs up is no more to librdkafka than information.
            client.set_log_level(RDKafkaLogLevel::Info);
            for (key, value) in defaults {
                client.set(*key, *value);
            }
            for KafkaProperty { key, value } in self.settings.properties()? {
                client.set(key, value.expose());
            }
            client.set("bootstrap.servers", &self.brokers);
            client.create_native_config().map_err(|error| refused(&error))?;
            Ok(client)
        }
    }

    fn refused(error: &KafkaError) -> anyhow::Error {
        match error {
            // librdkafka's description may repeat the value.
            KafkaError::ClientConfig(_, _, key, _) if is_secret(key) => {
                anyhow!("librdkafka refuses the value of {key}")
            }
            KafkaError::ClientConfig(_, description, ..) => anyhow!("librdkafka: {description}"),
            error => anyhow!("librdkafka: {error}"),
        }
    }

    fn is_secret(key: &str) -> bool {
        ["password", "secret", "key", "token", "pem", "oauthbearer.config", "jaas"]
            .iter()
            .any(|word| key.contains(word))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_librdkafka_refuses_is_said_without_the_secret() {
            let unknown = KafkaSettings {
                kafka_properties: vec!["no.such.property=1".parse().unwrap()],
                ..KafkaSettings::default()
            };
            let error = KafkaArguments { brokers: "b:9092".to_owned(), settings: unknown }.client(&[]).err().unwrap();
            assert!(format!("{error:#}").contains("no.such.property"));
            let refused_value = |key: &str| {
                let description = "Invalid value \"hunter2\"".to_owned();
                let kind = rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
                refused(&KafkaError::ClientConfig(kind, description, key.to_owned(), "hunter2".to_owned())).to_string()
            };
            assert!(refused_value("client.id").contains("hunter2"));
            for secret in ["sasl.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
                assert!(!refused_value(secret).contains("hunter2"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_is_none_is_refused_without_repeating_it() {
        #[derive(Debug, clap::Parser)]
        struct Program {
            #[command(flatten)]
            settings: KafkaSettings,
        }
        let error = <Program as clap::Parser>::try_parse_from(["program", "-Xhunter2"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        assert!(error.contains("expected key=value") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn properties_come_from_the_file_the_environment_and_the_command_line_in_this_order() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("properties");
        std::fs::write(&file, "# secrets\nsasl.username = file\nsasl.password=a=b\nclient.id=file\n").unwrap();
        let environment = [
            ("LABELSTREAM_KAFKA_SASL_USERNAME", "environment"),
            ("LABELSTREAM_KAFKA_SSL_KEY_PASSWORD", "hunter2"),
            ("LABELSTREAM_KAFKA_SECURITY_PROTOCOL", "sasl_ssl"),
            ("LABELSTREAM_KAFKA_CONFIG", "not a property"),
            ("PATH", "/bin"),
        ];
        let settings = KafkaSettings {
            kafka_properties: vec!["client.id=flag".parse().unwrap()],
            kafka_config: Some(file.clone()),
            environment: properties_of(environment.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        };
        let shown: Vec<_> = settings.properties().unwrap();
        let shown: Vec<_> = shown.iter().map(|property| (property.key.as_str(), property.value.expose())).collect();
        let expected = [
            ("sasl.username", "file"),
            ("sasl.password", "a=b"),
            ("client.id", "file"),
            ("sasl.username", "environment"),
            ("ssl.key.password", "hunter2"),
            ("security.protocol", "sasl_ssl"),
            ("client.id", "flag"),
        ];
        assert_eq!(shown, expected);
        assert!(!format!("{settings:?}").contains("hunter2"));
        let own_broker = settings.clone().without_environment().properties().unwrap();
        assert!(own_broker.iter().all(|property| property.key != "ssl.key.password"));

        std::fs::write(&file, "client.id=file\nhunter2").unwrap();
        let error = format!("{:#}", settings.properties().unwrap_err());
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }
}
