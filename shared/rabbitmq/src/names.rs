//! The names of queues and exchanges.

use std::time::Duration;

use lapin::types::ShortString;

use evergrant_domain::ProviderId;
use evergrant_ports::QueueError;

/// The names with one prefix.
#[derive(Debug, Clone)]
pub(super) struct QueueNames {
    prefix: String,
}

impl QueueNames {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The exchange that routes a job to its queue by the queue's name.
    pub(super) fn work_exchange(&self) -> String {
        format!("{}.work", self.prefix)
    }

    /// A work queue, and the routing key of its jobs.
    pub(super) fn work(&self, provider: &ProviderId, shard: u16) -> String {
        format!("{}.refresh.{provider}.{shard}", self.prefix)
    }

    /// The queue of returning jobs, and their routing key. They must not wait behind the work
    /// queue, because the provider repeats a lost answer only within its grace.
    pub(super) fn again(&self, provider: &ProviderId, shard: u16) -> String {
        format!("{}.again.{provider}.{shard}", self.prefix)
    }

    /// A rung of the retry ladder: its queue, and the exchange in front of it.
    pub(super) fn retry(&self, delay: Duration) -> String {
        format!("{}.retry.{}", self.prefix, delay.as_millis())
    }

    /// The queue of sealed answers that are not committed yet.
    pub(super) fn rescue(&self) -> String {
        format!("{}.rescue", self.prefix)
    }

    /// A provider's dead letters.
    pub(super) fn dead(&self, provider: &ProviderId) -> String {
        format!("{}.dead.{provider}", self.prefix)
    }
}

/// The queue whose owner may browse a queue of dead letters.
pub(super) fn browse_lock_name(dead: &str) -> String {
    format!("{dead}.look")
}

/// A name as the protocol's type: lapin's own conversion panics if it is too long.
///
/// # Errors
/// [`QueueError::Refused`] if it is longer than the protocol allows.
pub(super) fn short(operation: &'static str, name: &str) -> Result<ShortString, QueueError> {
    ShortString::try_new(name).map_err(|_| QueueError::Refused {
        operation,
        reason: format!(
            "a queue's name has at most 255 bytes, and this one has {}: choose a shorter \
             queue.prefix",
            name.len()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_the_purpose_of_a_queue() {
        let names = QueueNames::new("evergrant");
        let provider = "autodesk".parse().unwrap();
        assert_eq!(names.work_exchange(), "evergrant.work");
        assert_eq!(names.work(&provider, 3), "evergrant.refresh.autodesk.3");
        assert_eq!(names.again(&provider, 3), "evergrant.again.autodesk.3");
        assert_eq!(names.retry(Duration::from_secs(5)), "evergrant.retry.5000");
        assert_eq!(names.dead(&provider), "evergrant.dead.autodesk");
        assert_eq!(browse_lock_name(&names.dead(&provider)), "evergrant.dead.autodesk.look");
        assert_eq!(names.rescue(), "evergrant.rescue");
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error() {
        assert!(short("prepare", &"a".repeat(255)).is_ok());
        let error = short("prepare", &"a".repeat(256)).unwrap_err();
        assert!(error.to_string().contains("queue.prefix"), "{error}");
    }
}
