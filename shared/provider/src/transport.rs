//! Names what ended a request that brought no whole answer. Whether it may have arrived is decided by
//! [`TransportFailure`].

use std::error::Error;

use evergrant_domain::error_code::clean_description;
use evergrant_domain::{ExchangeSecrets, TransportFailure};

/// What ended a request before its answer began. `has_body` says whether the token is in the body.
///
/// h2 tells of a `GOAWAY` in a narrow race also for a stream that the server may have taken. Its body was
/// not sent then: only a request without one may have arrived.
pub(super) fn failure_of(error: &reqwest::Error, has_body: bool) -> TransportFailure {
    if error.is_builder() {
        return TransportFailure::NotMade;
    }
    if error.is_connect() {
        return TransportFailure::NotConnected;
    }
    for cause in causes(error) {
        if let Some(stream) = cause.downcast_ref::<h2::Error>().filter(|error| error.is_remote()) {
            if stream.is_reset() && stream.reason() == Some(h2::Reason::REFUSED_STREAM) {
                return TransportFailure::StreamRefused;
            }
            if stream.is_go_away() && has_body {
                return TransportFailure::BeyondGoaway;
            }
        }
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return TransportFailure::NotWritten;
        }
    }
    TransportFailure::AnswerLost
}

/// The innermost cause, which is the one that says something. It names no URL.
pub(super) fn words(error: &reqwest::Error) -> String {
    let timed_out = if error.is_timeout() { "timed out: " } else { "" };
    let cause = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    clean_description(&format!("{timed_out}{cause}"), &ExchangeSecrets::default())
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}
