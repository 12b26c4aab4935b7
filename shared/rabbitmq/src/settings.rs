//! The adapter's settings.

use std::time::Duration;

use secrecy::SecretString;

use evergrant_domain::ProviderId;
use evergrant_domain::ladder::Ladder;

/// Where the broker is, and which queues it has.
#[derive(Debug, Clone)]
pub struct RabbitSettings {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. The default virtual host is
    /// written `%2f`, or omitted together with its slash.
    pub url: SecretString,
    /// The prefix of all names of queues and exchanges.
    pub prefix: String,
    /// The providers, each with work queues and a dead queue of its own.
    pub providers: Vec<ProviderId>,
    /// Work queues of each provider.
    pub shards: u16,
    /// The delays of the retry queues.
    pub ladder: Ladder,
    /// What operators see in the broker's list of connections.
    pub connection_name: String,
    /// The timeout of connecting, including the handshake.
    pub connect_timeout: Duration,
    /// The timeout of any answer, in particular a publisher's confirm.
    pub confirm_timeout: Duration,
}
