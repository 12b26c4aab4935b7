//! Schedules a document whose user has just signed in.
//!
//! A document rarely shows the age of its refresh token, and a token of unknown age may expire
//! tomorrow: it is exchanged at once. If the application stores when the access token expires, and
//! that is in the future, both tokens are no older than an access token's lifetime.

use std::time::Duration;

use super::expiry::ToldEnds;
use super::schedule::{FirstRefresh, KnownEnds, RefreshSchedule, RefreshTimes};
use crate::{DocumentId, Timestamp};

/// How far an application's clock may be ahead.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);

impl RefreshSchedule {
    /// The times of tokens that were never refreshed and whose access token expires at `access_end`
    /// according to the application. None if that does not show their age, or if they are due.
    pub fn after_sign_in(
        &self,
        id: &DocumentId,
        access_end: Timestamp,
        now: Timestamp,
    ) -> Option<RefreshTimes> {
        let issued_at = access_end.minus(self.access_lifetime);
        if self.adopt == FirstRefresh::AtOnce
            || access_end <= now
            || issued_at > now.plus(CLOCK_SKEW_MAX)
        {
            return None;
        }
        let times =
            self.after_refresh(id, issued_at.min(now), ToldEnds::default(), KnownEnds::default());
        (times.next_refresh_at > now).then_some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::RefreshGoal;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    fn first_due(schedule: &RefreshSchedule, access_end: Timestamp) -> Option<Duration> {
        let times = schedule.after_sign_in(&DocumentId::Integer(1), access_end, NOW)?;
        Some(times.next_refresh_at.since(NOW))
    }

    #[test]
    fn a_fresh_sign_in_is_due_by_its_remaining_lifetime() {
        let wait = first_due(&RefreshSchedule::example(), NOW.plus(50 * MINUTE)).unwrap();
        assert!(wait > 5 * DAY && wait < 7 * DAY, "{wait:?}");
        let fresh = RefreshSchedule { keep: RefreshGoal::KeepFresh, ..RefreshSchedule::example() };
        let wait = first_due(&fresh, NOW.plus(50 * MINUTE)).unwrap();
        assert!(wait >= 14 * MINUTE && wait <= 20 * MINUTE, "{wait:?}");
    }

    #[test]
    fn tokens_of_unknown_age_are_due_at_once() {
        let expired = NOW.minus(Duration::from_millis(1));
        let of_the_refresh_token = NOW.plus(14 * DAY);
        for end in [expired, NOW, of_the_refresh_token] {
            assert_eq!(first_due(&RefreshSchedule::example(), end), None);
        }
    }

    #[test]
    fn an_applications_clock_may_be_slightly_ahead() {
        assert!(
            first_due(&RefreshSchedule::example(), NOW.plus(60 * MINUTE + CLOCK_SKEW_MAX))
                .is_some()
        );
        assert_eq!(first_due(&RefreshSchedule::example(), NOW.plus(62 * MINUTE)), None);
    }

    #[test]
    fn who_is_due_by_that_age_is_due() {
        let fresh = RefreshSchedule { keep: RefreshGoal::KeepFresh, ..RefreshSchedule::example() };
        assert_eq!(first_due(&fresh, NOW.plus(20 * MINUTE)), None);
    }

    #[test]
    fn at_once_refreshes_every_new_document_immediately() {
        let at_once = RefreshSchedule { adopt: FirstRefresh::AtOnce, ..RefreshSchedule::example() };
        assert_eq!(first_due(&at_once, NOW.plus(50 * MINUTE)), None);
    }
}
