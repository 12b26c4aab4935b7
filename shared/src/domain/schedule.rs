//! When a grant is refreshed next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shard::stable_hash;
use super::{DocumentId, Timestamp};

/// What is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Refresh before the refresh token dies of disuse: few exchanges, the grant survives.
    KeepAlive,
    /// Refresh before the access token expires: the application always finds a valid one.
    KeepFresh,
}

/// A provider's lifetimes and how they are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Which of the two tokens sets the pace.
    pub keep: Keep,
    /// The access token's lifetime where the answer does not tell it.
    pub access_lifetime: Duration,
    /// How long a refresh token lives unused, where the answer does not tell it. None: for ever.
    pub refresh_idle_lifetime: Option<Duration>,
    /// How long a grant lives whatever is done. None: for ever.
    pub refresh_absolute_lifetime: Option<Duration>,
    /// The share of the lifetime after which a refresh is due, in per cent, 1 to 95.
    pub refresh_after_percent: u8,
    /// How far the due time is moved earlier at most, in per cent of the lifetime: spreads an
    /// import over time.
    pub jitter_percent: u8,
}

/// The times that follow from a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When the access token expires.
    pub access_expires_at: Timestamp,
    /// When the refresh token dies unless it is exchanged.
    pub refresh_idle_until: Option<Timestamp>,
    /// When the grant ends whatever is done.
    pub refresh_absolute_until: Option<Timestamp>,
    /// When the next refresh is due.
    pub next_refresh_at: Timestamp,
}

/// A refresh token that is never told to expire is exchanged this often, to notice a revoked grant.
const UNLIMITED_LIFETIME: Duration = Duration::from_secs(60 * 86_400);

impl Schedule {
    /// The times after a refresh at `refreshed_at`. `absolute_until` is what earlier refreshes
    /// know: a successor inherits it, as Okta's and Atlassian's do.
    pub fn after_refresh(
        &self,
        id: &DocumentId,
        refreshed_at: Timestamp,
        expires_in_s: Option<u64>,
        refresh_expires_in_s: Option<u64>,
        absolute_until: Option<Timestamp>,
    ) -> Times {
        let access = expires_in_s.map_or(self.access_lifetime, Duration::from_secs);
        let idle = refresh_expires_in_s.map(Duration::from_secs).or(self.refresh_idle_lifetime);
        let refresh_absolute_until = absolute_until
            .or_else(|| self.refresh_absolute_lifetime.map(|life| refreshed_at.plus(life)));
        let lifetime = match self.keep {
            Keep::KeepFresh => access,
            Keep::KeepAlive => {
                let until_end = refresh_absolute_until.map(|end| end.since(refreshed_at));
                [idle, until_end].into_iter().flatten().min().unwrap_or(UNLIMITED_LIFETIME)
            }
        };
        Times {
            access_expires_at: refreshed_at.plus(access),
            refresh_idle_until: idle.map(|idle| refreshed_at.plus(idle)),
            refresh_absolute_until,
            next_refresh_at: refreshed_at.plus(self.wait(id, lifetime)),
        }
    }

    /// How long to wait: a share of the lifetime, less a jitter that is always the same for an id.
    fn wait(&self, id: &DocumentId, lifetime: Duration) -> Duration {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let percent = |share: u8| lifetime_ms / 100 * u64::from(share);
        let jitter_ms = stable_hash(id) % (percent(self.jitter_percent) + 1);
        Duration::from_millis(percent(self.refresh_after_percent).saturating_sub(jitter_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    fn autodesk() -> Schedule {
        Schedule {
            keep: Keep::KeepAlive,
            access_lifetime: Duration::from_secs(3600),
            refresh_idle_lifetime: Some(14 * DAY),
            refresh_absolute_lifetime: None,
            refresh_after_percent: 50,
            jitter_percent: 10,
        }
    }

    #[test]
    fn keep_alive_refreshes_well_before_the_refresh_token_dies() {
        let times = autodesk().after_refresh(&DocumentId::Integer(1), NOW, Some(3600), None, None);
        assert_eq!(times.access_expires_at, NOW.plus(Duration::from_secs(3600)));
        assert_eq!(times.refresh_idle_until, Some(NOW.plus(14 * DAY)));
        let wait = times.next_refresh_at.since(NOW);
        assert!(wait <= 7 * DAY && wait >= 5 * DAY, "{wait:?}");
    }

    #[test]
    fn keep_fresh_refreshes_before_the_access_token_expires() {
        let schedule = Schedule { keep: Keep::KeepFresh, refresh_after_percent: 75, ..autodesk() };
        let times = schedule.after_refresh(&DocumentId::Integer(1), NOW, Some(1800), None, None);
        let wait = times.next_refresh_at.since(NOW);
        assert!(wait <= Duration::from_secs(1350) && wait >= Duration::from_secs(1170), "{wait:?}");
    }

    #[test]
    fn an_absolute_end_is_inherited_and_not_extended() {
        let end = NOW.plus(DAY);
        let times = autodesk().after_refresh(&DocumentId::Integer(1), NOW, None, None, Some(end));
        assert_eq!(times.refresh_absolute_until, Some(end));
        assert!(times.next_refresh_at < end);
    }

    #[test]
    fn an_import_does_not_come_due_all_at_once() {
        let due: std::collections::HashSet<_> = (0..1_000)
            .map(|n| autodesk().after_refresh(&DocumentId::Integer(n), NOW, None, None, None))
            .map(|times| times.next_refresh_at)
            .collect();
        assert!(due.len() > 990);
    }

    proptest! {
        #[test]
        fn a_refresh_is_due_before_what_it_keeps_expires(
            id in any::<i64>(), access_s in 1_u64..1_000_000, idle_s in 1_u64..10_000_000,
            after in 1_u8..=95, jitter in 0_u8..=95, fresh in any::<bool>()
        ) {
            let keep = if fresh { Keep::KeepFresh } else { Keep::KeepAlive };
            let schedule = Schedule { keep, refresh_after_percent: after, jitter_percent: jitter, ..autodesk() };
            let id = DocumentId::Integer(id);
            let times = schedule.after_refresh(&id, NOW, Some(access_s), Some(idle_s), None);
            let end = if fresh { times.access_expires_at } else { times.refresh_idle_until.unwrap() };
            prop_assert!(times.next_refresh_at >= NOW && times.next_refresh_at < end);
        }
    }
}
