//! What the adapter needs to know.

use std::time::Duration;

use secrecy::SecretString;

use evergrant_domain::ProviderId;
use evergrant_domain::ladder::Ladder;

/// Where the broker is, and what there shall be on it.
#[derive(Debug, Clone)]
pub struct RabbitSettings {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. The default virtual host is
    /// written `%2f`, or left out together with its slash.
    pub url: SecretString,
    /// The beginning of every name of a queue and an exchange.
    pub prefix: String,
    /// The providers, each with work queues and a dead queue of its own.
    pub providers: Vec<ProviderId>,
    /// Work queues of each provider.
    pub shards: u16,
    /// The delays of the retry queues.
    pub ladder: Ladder,
    /// What operators see in the broker's list of connections.
    pub connection_name: String,
    /// How long connecting may take, the handshake included.
    pub connect_timeout: Duration,
    /// How long the broker may take over any answer, a publisher's confirm above all.
    pub confirm_timeout: Duration,
}
