//! Statistics by the minute, for charts and error rates.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{DeadReason, ProviderId, Timestamp};

/// How long statistics are kept: a day, and an hour so that a chart of a day has no gap.
pub const STATISTICS_TTL: Duration = Duration::from_secs(25 * 3_600);

/// The interval of counting.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Counts of events at a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderCounts {
    /// Jobs that the producer published.
    pub due: u64,
    /// Grants refreshed.
    pub refreshed: u64,
    /// Exchanges that failed and are retried.
    pub retried: u64,
    /// Requests that the provider throttled.
    pub throttled: u64,
    /// Exchanges that opened the circuit or found it open: the provider rejects the client, or
    /// reports so many deaths that they are not believed.
    pub doubted: u64,
    /// Dead letters by reason.
    pub dead: BTreeMap<DeadReason, u64>,
}

/// Counts of events at a provider in one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MinuteCounts {
    /// The provider.
    pub provider: ProviderId,
    /// The beginning of the minute.
    pub minute: Timestamp,
    /// The counts.
    #[serde(flatten)]
    pub counts: ProviderCounts,
}

/// One count, with its name in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountName {
    /// Such as `refreshed` or `dead_grant_dead`.
    pub name: &'static str,
    /// How many.
    pub n: u64,
}

impl ProviderCounts {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All exchanges that ended.
    pub fn exchanges(&self) -> u64 {
        self.refreshed + self.failures()
    }

    /// Exchanges without new tokens. Throttled requests are excluded, because they say nothing
    /// about grants or the client.
    pub fn failures(&self) -> u64 {
        self.retried + self.doubted + self.dead_in_all()
    }

    /// Dead letters of all reasons.
    pub fn dead_in_all(&self) -> u64 {
        self.dead.values().sum()
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        for count in other.named() {
            self.add_named(count.name, count.n);
        }
    }

    /// The counts that are not zero, by flat names.
    pub fn named(&self) -> Vec<CountName> {
        let plain = [
            ("due", self.due),
            ("refreshed", self.refreshed),
            ("retried", self.retried),
            ("throttled", self.throttled),
            ("doubted", self.doubted),
        ];
        let dead = self.dead.iter().map(|(reason, n)| (dead_name(*reason), *n));
        let named = plain.into_iter().chain(dead);
        named.filter(|(_, n)| *n > 0).map(|(name, n)| CountName { name, n }).collect()
    }

    /// Adds to the count with a flat name. An unknown name of a later release is ignored.
    pub fn add_named(&mut self, name: &str, n: u64) {
        let count = match name {
            "due" => &mut self.due,
            "refreshed" => &mut self.refreshed,
            "retried" => &mut self.retried,
            "throttled" => &mut self.throttled,
            "doubted" => &mut self.doubted,
            name => match DeadReason::ALL.into_iter().find(|reason| dead_name(*reason) == name) {
                Some(reason) => self.dead.entry(reason).or_default(),
                None => return,
            },
        };
        *count = count.saturating_add(n);
    }
}

const fn dead_name(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::GrantDead => "dead_grant_dead",
        DeadReason::LostResponse => "dead_lost_response",
        DeadReason::AttemptsExhausted => "dead_attempts_exhausted",
        DeadReason::MalformedDocument => "dead_malformed_document",
        DeadReason::TwinDocument => "dead_twin_document",
        DeadReason::RefusedDocument => "dead_refused_document",
        DeadReason::MalformedJob => "dead_malformed_job",
        DeadReason::UncommittedAnswer => "dead_uncommitted_answer",
        DeadReason::DeliveryLimit => "dead_delivery_limit",
        DeadReason::Broker => "dead_broker",
    }
}

/// The beginning of the minute that contains `time`.
pub fn minute_of(time: Timestamp) -> Timestamp {
    let unix_ms = time.unix_ms();
    Timestamp::from_unix_ms(unix_ms - unix_ms.rem_euclid(60_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_through_their_flat_names() {
        let mut counts = ProviderCounts {
            due: 1,
            refreshed: 2,
            retried: 3,
            throttled: 4,
            ..ProviderCounts::default()
        };
        counts.doubted = 5;
        counts.dead = DeadReason::ALL.into_iter().zip(6..).collect();
        let mut read = ProviderCounts::default();
        read.add(&counts);
        assert_eq!(read, counts);
        read.add_named("of_a_later_release", 9);
        assert_eq!(read, counts);
        read.add(&counts);
        assert_eq!((read.refreshed, read.dead_in_all()), (4, 2 * counts.dead_in_all()));
        assert!(ProviderCounts::default().named().is_empty());
    }

    #[test]
    fn a_minute_begins_at_its_first_millisecond() {
        for (unix_ms, minute) in [(0, 0), (59_999, 0), (60_000, 60_000), (-1, -60_000)] {
            let minute = Timestamp::from_unix_ms(minute);
            assert_eq!(minute_of(Timestamp::from_unix_ms(unix_ms)), minute);
        }
    }
}
