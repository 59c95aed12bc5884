//! Further ports of a broker, where something else is spoken.

/// A further port of a broker.
pub struct Listener {
    /// Its name, in capitals.
    pub name: &'static str,
    /// What is spoken there, such as `SASL_SSL`.
    pub protocol: &'static str,
    /// The address that the broker tells its clients, where that is another one.
    pub advertised: Option<&'static str>,
}

impl Listener {
    pub(super) fn added_to(&self, properties: &str, address: &str) -> String {
        let Self { name, protocol, advertised } = self;
        let added = |line: &str| match line.split_once('=').map_or("", |(key, _)| key) {
            "listeners" => format!("{line},{name}://{address}\n"),
            "advertised.listeners" => format!("{line},{name}://{}\n", advertised.unwrap_or(address)),
            "listener.security.protocol.map" => format!("{line},{name}:{protocol}\n"),
            _ => format!("{line}\n"),
        };
        properties.lines().map(added).collect()
    }
}
