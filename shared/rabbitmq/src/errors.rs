//! Translates lapin's errors, without credentials.

use lapin::{Error, ErrorKind};

use evergrant_ports::QueueError;

/// The protocol's reply codes that are handled.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;
const NOT_IMPLEMENTED: u16 = 540;

/// An error, and whether declaring the queues and exchanges again would help.
pub(super) enum Failure {
    /// A queue or an exchange does not exist: it was deleted, or not created yet.
    Missing(QueueError),
    /// Anything else.
    Other(QueueError),
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for QueueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing(error) | Failure::Other(error) => error,
        }
    }
}

impl Failure {
    /// Like [`explain`].
    pub(super) fn new(operation: &'static str, error: &Error) -> Self {
        let explained = explain(operation, error);
        if is_not_found(error) { Self::Missing(explained) } else { Self::Other(explained) }
    }
}

/// The error of an operation on an open connection.
pub(super) fn explain(operation: &'static str, error: &Error) -> QueueError {
    let reason = redact(&error.to_string());
    match reply_code(error) {
        Some(ACCESS_REFUSED | NOT_ALLOWED | NOT_IMPLEMENTED) => {
            QueueError::Refused { operation, reason: format!("{reason}{}", advice(error)) }
        }
        // Another process may create it at any moment, so this is not final.
        Some(NOT_FOUND) => {
            QueueError::Unavailable { operation, reason: format!("{reason} (not prepared yet?)") }
        }
        _ => QueueError::Unavailable { operation, reason },
    }
}

/// The error of declaring `name`.
pub(super) fn explain_declare(operation: &'static str, name: &str, error: &Error) -> QueueError {
    if reply_code(error) == Some(PRECONDITION_FAILED) {
        QueueError::Mismatch { name: name.to_owned(), reason: redact(&error.to_string()) }
    } else {
        explain(operation, error)
    }
}

/// Whether something does not exist at the broker.
pub(super) fn is_not_found(error: &Error) -> bool {
    reply_code(error) == Some(NOT_FOUND)
}

/// Whether another connection has exclusive access to something.
pub(super) fn is_locked(error: &Error) -> bool {
    reply_code(error) == Some(RESOURCE_LOCKED)
}

fn reply_code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// What to do about a refusal.
fn advice(error: &Error) -> &'static str {
    match reply_code(error) {
        Some(ACCESS_REFUSED) => {
            ". Check the user name and the password in queue.url, and what this user may do"
        }
        Some(NOT_ALLOWED) => {
            ". Check the virtual host in queue.url (the default one is written %2f), and whether \
             this user may use it"
        }
        _ => "",
    }
}

/// `text` without the part of a URL before the `@`.
pub(super) fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("://") {
        let (before, after) = rest.split_at(begin + 3);
        clean.push_str(before);
        // A password may contain a slash or an @ that is not encoded.
        let end = after.find(|c: char| c.is_whitespace() || c == '\'' || c == '"');
        let url = &after[..end.unwrap_or(after.len())];
        if let Some(at) = url.rfind('@') {
            clean.push_str("***");
            rest = &after[at..];
        } else {
            rest = after;
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn protocol(code: u16, text: &str) -> Error {
        ErrorKind::ProtocolError(AMQPError::from_id(code, text.into()).unwrap()).into()
    }

    #[test]
    fn no_error_shows_credentials() {
        for (text, clean) in [
            ("Invalid URL: 'amqp://me:se/cr@t@host/x'", "Invalid URL: 'amqp://***@host/x'"),
            ("no amqp://host/x here", "no amqp://host/x here"),
            ("a://u:p@h b://u:p@h", "a://***@h b://***@h"),
            ("plain", "plain"),
        ] {
            assert_eq!(redact(text), clean);
        }
    }

    #[test]
    fn temporary_errors_are_distinguished_from_final_ones() {
        let refused = explain("publish", &protocol(403, "ACCESS_REFUSED - Login was refused"));
        assert!(matches!(&refused, QueueError::Refused { .. }));
        assert!(refused.to_string().contains("password"), "{refused}");
        let missing = explain("consume", &protocol(404, "NOT_FOUND - no queue"));
        assert!(matches!(missing, QueueError::Unavailable { .. }));
        let lost = explain("consume", &ErrorKind::MissingHeartbeatError.into());
        assert!(matches!(lost, QueueError::Unavailable { .. }));
        let other = explain_declare("prepare", "q", &protocol(406, "PRECONDITION_FAILED"));
        assert!(matches!(other, QueueError::Mismatch { name, .. } if name == "q"));
    }
}
