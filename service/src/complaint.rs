//! Why Kafka cannot be reached: librdkafka's complaints, each with its cause and what to do.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};

const TLS_THERE: &str = "the broker speaks TLS at this port: security.protocol=ssl or sasl_ssl";
const NO_TLS_THERE: &str = "the broker speaks no TLS at this port: security.protocol=plaintext or sasl_plaintext";
const ASKS: &str = "the broker hangs up, as one does that asks who we are: security.protocol=sasl_plaintext or sasl_ssl, with sasl.mechanism, \
    sasl.username and LABELSTREAM_KAFKA_SASL_PASSWORD";
const REFUSED: &str = "the broker's certificate is refused";

/// What librdkafka says, and what it comes from.
const CAUSES: [(&str, &str); 9] = [
    // The first bytes of a TLS alert, read as a length.
    ("Invalid response size 35", TLS_THERE),
    ("connecting to a PLAINTEXT", NO_TLS_THERE),
    ("wrong version number", NO_TLS_THERE),
    ("mechanism handshake failed", "the broker does not take this sasl.mechanism: give one that it supports"),
    (
        "invalid credentials",
        "the broker refuses the user or the password: check sasl.username and LABELSTREAM_KAFKA_SASL_PASSWORD",
    ),
    (
        "Invalid username or password",
        "the broker refuses the user or the password: check sasl.username and LABELSTREAM_KAFKA_SASL_PASSWORD",
    ),
    (
        "client SSL authentication",
        "the broker wants a certificate of ours: ssl.certificate.location and ssl.key.location",
    ),
    (
        "Failed to resolve",
        "the name means nothing on this machine; where --brokers names another, it is the broker's advertised.listeners",
    ),
    ("Connection refused", "nothing listens there: is Kafka running, and is the port right?"),
];

/// How long a broker may take over each part of a look at it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What librdkafka says of a certificate, whatever is wrong with it.
const CERTIFICATE: [&str; 2] = ["certificate verify failed", "certificate could not be verified"];

/// Keeps librdkafka's last complaint, which says why nobody answers.
#[derive(Clone, Default)]
pub struct Complaints(Arc<Mutex<Option<String>>>);

impl Complaints {
    /// Listens to a line of librdkafka's log.
    pub fn hear(&self, facility: &str, message: &str) {
        if facility == "FAIL" {
            // "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to ... failed: ..."
            let complaint = message.splitn(3, "]: ").last().unwrap_or(message);
            let mut last = self.0.lock().expect("a poisoned lock is a bug");
            // A later "disconnected" does not hide why.
            if cause(complaint).is_some() || last.as_deref().is_none_or(|last| cause(last).is_none()) {
                *last = Some(complaint.to_owned());
            }
        }
    }

    /// A broker answers: what was said before is over.
    pub fn forget(&self) {
        *self.0.lock().expect("a poisoned lock is a bug") = None;
    }

    /// The last one, with its cause; blocks while it looks at a certificate. `authorities` is the
    /// file of `ssl.ca.location`.
    pub fn explained(&self, authorities: Option<&Path>) -> Option<String> {
        let complaint = self.0.lock().expect("a poisoned lock is a bug").clone()?;
        // "(after 12ms in state APIVERSION_QUERY, 3 identical error(s) suppressed)": another each time.
        let complaint = complaint.split(" (after ").next().unwrap_or_default().to_owned();
        // "sasl_ssl://broker:9092/bootstrap: ...", without a scheme where it is plaintext.
        let place = complaint.split(": ").next().unwrap_or_default();
        let (protocol, broker) = place.split_once("://").unwrap_or(("plaintext", place));
        let broker = broker.split('/').next().unwrap_or_default();
        let cause = match cause(&complaint) {
            Some(REFUSED) => certificate(broker, authorities),
            Some(cause) => Some(cause.to_owned()),
            None => disconnection(&complaint, protocol, broker).map(str::to_owned),
        };
        Some(cause.map_or(complaint.clone(), |cause| format!("{cause} ({complaint})")))
    }
}

/// Why a broker hangs up without a word.
fn disconnection(complaint: &str, protocol: &str, broker: &str) -> Option<&'static str> {
    if !["Disconnected", "SSL handshake failed", "closed by peer"].iter().any(|said| complaint.contains(said)) {
        return None;
    }
    // One that is away, or starts again, asks for nothing.
    TcpStream::connect_timeout(&broker.to_socket_addrs().ok()?.next()?, PATIENCE).ok()?;
    let speaks_tls = matches!(handshake(broker, RootCertStore::empty()), Some(Err(_)));
    match (protocol.ends_with("ssl"), speaks_tls) {
        (false, true) => Some(TLS_THERE),
        (true, false) => Some(NO_TLS_THERE),
        (false, false) if protocol == "plaintext" => Some(ASKS),
        _ => None,
    }
}

fn cause(complaint: &str) -> Option<&'static str> {
    if CERTIFICATE.iter().any(|said| complaint.contains(said)) {
        return Some(REFUSED);
    }
    CAUSES.iter().find(|(said, _)| complaint.contains(said)).map(|(_, cause)| *cause)
}

/// What is wrong with a broker's certificate, which librdkafka does not say: found by shaking hands
/// once more.
fn certificate(broker: &str, authorities: Option<&Path>) -> Option<String> {
    let (host, _) = broker.rsplit_once(':')?;
    let mut roots = RootCertStore::empty();
    if let Some(file) = authorities {
        let Ok(found) = CertificateDer::pem_file_iter(file) else {
            return Some(format!("ssl.ca.location, {}, cannot be read", file.display()));
        };
        roots.add_parsable_certificates(found.flatten());
    }
    let rustls::Error::InvalidCertificate(error) = handshake(broker, roots)?.err()? else { return None };
    Some(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the broker's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the broker's certificate is not valid yet: is this machine's clock right?".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the broker's certificate is for another name than {host}: give --brokers and advertised.listeners the \
                name that it is for"
        ),
        CertificateError::UnknownIssuer if authorities.is_some() => {
            "the broker's certificate is of an authority that is not in ssl.ca.location".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "the broker's certificate is of an authority that this machine does not know: give its certificate with \
                ssl.ca.location"
                .to_owned()
        }
        error => format!("the broker's certificate is refused: {error}"),
    })
}

/// How TLS begins with a broker: the error is one of TLS; `None` where it comes to no handshake.
fn handshake(broker: &str, roots: RootCertStore) -> Option<Result<(), rustls::Error>> {
    let (host, _) = broker.rsplit_once(':')?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(client), name).ok()?;
    let mut stream = TcpStream::connect_timeout(&broker.to_socket_addrs().ok()?.next()?, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut stream) {
            let error = error.get_ref()?.downcast_ref::<rustls::Error>()?.clone();
            // What is no TLS at all is none to be wrong.
            return (!matches!(error, rustls::Error::InvalidMessage(_))).then_some(Err(error));
        }
    }
    Some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_has_its_cause_and_a_disconnection_after_it_hides_nothing() {
        let complaints = Complaints::default();
        complaints.hear("CONFWARN", "something else");
        assert_eq!(complaints.explained(None), None);
        complaints.hear("FAIL", "[thrd:a:1/bootstrap]: a:1/bootstrap: Disconnected (after 1ms)");
        assert_eq!(complaints.explained(None).unwrap(), "a:1/bootstrap: Disconnected");
        let refused = "[thrd:a:1/1]: sasl_plaintext://a:1/1: SASL authentication error: Authentication failed: \
            Invalid username or password (after 9ms)";
        complaints.hear("FAIL", refused);
        complaints.hear("FAIL", "[thrd:a:1/1]: a:1/1: Disconnected (after 1ms)");
        let explained = complaints.explained(None).unwrap();
        assert!(explained.starts_with("the broker refuses the user or the password"), "{explained}");
    }
}
