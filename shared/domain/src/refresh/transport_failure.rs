//! How far a request came that brought no whole answer, and whether it may have arrived.

use super::classify::ExchangeResult;

/// What ended a request without a whole answer, as the client of a provider saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportFailure {
    /// No request could be made for this document.
    NotMade,
    /// All connections that there may be were in use for too long. That is about us, not about the
    /// grant or the provider.
    NoConnectionFree,
    /// There was no connection: a name, an address, TLS, or a proxy that did not open its tunnel.
    NotConnected,
    /// The connection closed before a byte of the request was written.
    NotWritten,
    /// The server refused the stream: `RST_STREAM` with `REFUSED_STREAM` (RFC 9113 §8.7).
    StreamRefused,
    /// The server goes away, and the stream is later than the last one that it has taken: `GOAWAY`
    /// (RFC 9113 §6.8).
    BeyondGoaway,
    /// The request was written, or may have been.
    AnswerLost,
}

impl TransportFailure {
    /// Whether the provider may have exchanged the token. When in doubt it may have.
    pub const fn may_have_arrived(self) -> bool {
        match self {
            Self::NotMade
            | Self::NoConnectionFree
            | Self::NotConnected
            | Self::NotWritten
            | Self::StreamRefused
            | Self::BeyondGoaway => false,
            Self::AnswerLost => true,
        }
    }
}

impl ExchangeResult {
    /// The end of an exchange that brought no whole answer. `what` says why and holds no secret.
    pub fn failed(failure: TransportFailure, what: String) -> Self {
        match failure {
            TransportFailure::NoConnectionFree => Self::NotTried(what),
            failure if failure.may_have_arrived() => Self::NoAnswer(what),
            _ => Self::NotSent(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_answer_may_have_spent_the_token() {
        use TransportFailure::*;
        for failure in [NotMade, NotConnected, NotWritten, StreamRefused, BeyondGoaway] {
            let ended = ExchangeResult::failed(failure, String::new());
            assert!(matches!(ended, ExchangeResult::NotSent(_)), "{failure:?}");
        }
        let ended = ExchangeResult::failed(NoConnectionFree, String::new());
        assert!(matches!(ended, ExchangeResult::NotTried(_)));
        assert!(!NoConnectionFree.may_have_arrived());
        let ended = ExchangeResult::failed(AnswerLost, String::new());
        assert!(matches!(ended, ExchangeResult::NoAnswer(_)));
    }
}
