//! The broker's address, from the URL.

use std::time::Duration;

use lapin::uri::AMQPUri;

use evergrant_ports::QueueError;

/// A broker that is silent for twice this long counts as dead.
const HEARTBEAT_SECONDS: u16 = 10;

/// Parses `url`. Errors do not quote it, because it holds a password.
pub(super) fn read(url: &str) -> Result<AMQPUri, String> {
    const FORM: &str = "it must be amqp://user:password@host:port/vhost (or amqps://), with every \
                        special character in the user, the password and the virtual host \
                        percent-encoded";
    let parsed = url::Url::parse(url).map_err(|error| format!("queue.url: {error}; {FORM}"))?;
    // lapin's parser quotes a URL without // in its error.
    let mut uri: AMQPUri = match parsed.scheme() {
        "amqp" | "amqps" if parsed.has_host() => {
            url.parse().map_err(|error| format!("queue.url: {error}; {FORM}"))?
        }
        _ => return Err(format!("queue.url: {FORM}")),
    };
    // lapin's parser takes an IPv6 address for localhost.
    if let Some(host) = parsed.host_str().and_then(|host| host.strip_prefix('[')) {
        host.trim_end_matches(']').clone_into(&mut uri.authority.host);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(uri)
}

/// The address, or why there is none.
#[derive(Clone)]
pub(super) struct Address {
    uri: Result<AMQPUri, String>,
    /// The timeout of connecting, including the handshake.
    pub(super) connect_timeout: Duration,
    /// What operators see in the broker's list of connections.
    pub(super) connection_name: String,
}

impl Address {
    pub(super) fn new(url: &str, connect_timeout: Duration, connection_name: String) -> Self {
        Self { uri: read(url), connect_timeout, connection_name }
    }

    pub(super) fn uri(&self, operation: &'static str) -> Result<&AMQPUri, QueueError> {
        self.uri
            .as_ref()
            .map_err(|reason| QueueError::Refused { operation, reason: reason.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_parsed_and_keeps_a_heartbeat() {
        let uri = read("amqp://me:secret@broker.example:5673/%2f").unwrap();
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("broker.example", 5673));
        assert_eq!((uri.vhost.as_str(), uri.query.heartbeat), ("/", Some(HEARTBEAT_SECONDS)));
        assert_eq!(read("amqp://h?heartbeat=3").unwrap().query.heartbeat, Some(3));
    }

    #[test]
    fn an_ipv6_address_is_not_localhost() {
        assert_eq!(read("amqp://[2001:db8::1]:5672/x").unwrap().authority.host, "2001:db8::1");
        assert_eq!(read("amqp://127.0.0.1").unwrap().authority.host, "127.0.0.1");
    }

    #[test]
    fn a_wrong_url_is_reported_without_quoting_it() {
        for url in [
            "me:hunter2@host",
            "amqp:me:hunter2@host",
            "http://me:hunter2@host/",
            "amqp://me:hunter2@host:port/",
            "amqp://me:hunter2@host/?heartbeat=hunter2",
            "hunter2",
            "",
        ] {
            let error = read(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("amqp://user:password@host"), "{error}");
        }
    }
}
