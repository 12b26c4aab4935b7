//! A circuit breaker for destinations that accept no messages: a queue without a leader confirms
//! nothing.
//!
//! A publisher that waits for such a queue holds one of a few channels for the whole timeout, and
//! delays the messages of every other queue (head-of-line blocking). So after a failure, callers
//! get the same error at once for a while, and then one of them tries again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evergrant_ports::QueueError;

/// How long callers get the same error after a failure.
const FAILURE_TTL: Duration = Duration::from_secs(5);

/// Destinations that did not accept the last message, by name.
#[derive(Default)]
pub(super) struct Broken(Mutex<HashMap<String, KnownFailure>>);

struct KnownFailure {
    until: Instant,
    error: QueueError,
}

impl Broken {
    /// Whether a destination may be tried now.
    ///
    /// # Errors
    /// The last failure, if it is too early to try again.
    pub(super) fn check(&self, name: &str) -> Result<(), QueueError> {
        let mut broken = self.lock();
        let Some(failed) = broken.get_mut(name) else { return Ok(()) };
        let now = Instant::now();
        if now < failed.until {
            return Err(failed.error.clone());
        }
        // The others wait for the result of this one.
        failed.until = now + FAILURE_TTL;
        Ok(())
    }

    /// Notes the result of a try.
    pub(super) fn note(&self, name: &str, result: &Result<(), QueueError>) {
        let mut broken = self.lock();
        match result {
            Ok(()) => drop(broken.remove(name)),
            Err(error) => {
                let failed =
                    KnownFailure { until: Instant::now() + FAILURE_TTL, error: error.clone() };
                broken.insert(name.to_owned(), failed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, KnownFailure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_destination_alone_is_not_tried_for_a_while() {
        let broken = Broken::default();
        let error = QueueError::Unconfirmed { operation: "retry", reason: "no leader".to_owned() };
        broken.note("a", &Err(error));
        assert!(broken.check("a").is_err() && broken.check("b").is_ok());
        broken.note("a", &Ok(()));
        assert!(broken.check("a").is_ok());
    }

    #[test]
    fn one_later_caller_tries_again() {
        let broken = Broken::default();
        let error = QueueError::Unconfirmed { operation: "retry", reason: "no leader".to_owned() };
        let failed = KnownFailure { until: Instant::now(), error };
        broken.lock().insert("a".to_owned(), failed);
        assert!(broken.check("a").is_ok() && broken.check("a").is_err());
    }
}
