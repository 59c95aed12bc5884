//! A broker with listeners that want credentials or speak TLS, with certificates of many kinds.

use std::path::PathBuf;

use stack::{Certificates, Kafka, Listener};

/// The broker, and where its certificates are. The user `alice` has the password `right`.
pub struct SecureKafka {
    /// Its listeners: `SASL`, `TLS`, `EXPIRED`, `NAMED` (for another host) and `LOST`, which tells
    /// its clients an address where nobody is.
    pub kafka: Kafka,
    certificates: Certificates,
}

impl SecureKafka {
    /// Nothing where no broker or no certificate can be made; says why.
    pub fn start() -> Option<Self> {
        if stack::kafka_cannot_run() {
            return None;
        }
        let certificates = match Certificates::new() {
            Ok(certificates) => certificates,
            Err(error) => {
                stack::not_run(format!("{error:#}"));
                return None;
            }
        };
        let place = certificates.directory();
        for (name, of, days) in
            [("tls", "IP:127.0.0.1", "2"), ("expired", "IP:127.0.0.1", "-1"), ("named", "DNS:elsewhere.example", "2")]
        {
            let (key, certificate) = certificates.signed(name, of, days).expect("openssl signs");
            std::fs::write(place.join(format!("{name}.pem")), key + &certificate).expect("a file");
        }
        let mut settings = String::from(
            "sasl.enabled.mechanisms=PLAIN\n\
            listener.name.sasl.plain.sasl.jaas.config=\
            org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"right\";\n",
        );
        for name in ["tls", "expired", "named"] {
            let keys = place.join(format!("{name}.pem")).display().to_string();
            settings += &format!("listener.name.{name}.ssl.keystore.type=PEM\n");
            settings += &format!("listener.name.{name}.ssl.keystore.location={keys}\n");
        }
        let listener = |name, protocol, advertised| Listener { name, protocol, advertised };
        let listeners = [
            listener("SASL", "SASL_PLAINTEXT", None),
            listener("TLS", "SSL", None),
            listener("EXPIRED", "SSL", None),
            listener("NAMED", "SSL", None),
            listener("LOST", "PLAINTEXT", Some("127.0.0.1:1")),
        ];
        let kafka = Kafka::start_with(&listeners, &settings).expect("Apache Kafka starts");
        Some(Self { kafka, certificates })
    }

    /// The certificate of an authority: `ca`, which has signed the broker's, or `other`.
    pub fn authority(&self, name: &str) -> PathBuf {
        self.certificates.authority(name)
    }

    /// Mistakes that people make: where they connect, with which properties, and a piece of the
    /// cause that they must be told.
    pub fn mistakes(&self) -> Vec<(String, Vec<String>, &'static str)> {
        let tls = |authority: &str| {
            let authority = self.authority(authority).display().to_string();
            vec!["security.protocol=ssl".to_owned(), format!("ssl.ca.location={authority}")]
        };
        let sasl = |mechanism: &str, password: &str| {
            let properties = ["security.protocol=sasl_plaintext", "sasl.username=alice"].map(str::to_owned);
            let own = [format!("sasl.mechanism={mechanism}"), format!("sasl.password={password}")];
            [properties, own].concat()
        };
        let at = |name: &str| self.kafka.listener(name).to_owned();
        vec![
            (at("SASL"), vec![], "asks who we are"),
            (at("SASL"), sasl("PLAIN", "wrong"), "refuses the user or the password"),
            (at("SASL"), sasl("SCRAM-SHA-256", "right"), "does not take this sasl.mechanism"),
            (at("TLS"), vec![], "speaks TLS"),
            (self.kafka.brokers().to_owned(), tls("ca"), "speaks no TLS"),
            (at("TLS"), tls("other"), "an authority that is not in ssl.ca.location"),
            (at("EXPIRED"), tls("ca"), "has expired"),
            (at("NAMED"), tls("ca"), "for another name than 127.0.0.1"),
        ]
    }
}
