//! The refresh schedule: when a grant is refreshed next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::expiry::{TokenExpiry, ToldEnds};
use crate::shard::stable_hash;
use crate::{DocumentId, Timestamp};

/// Which token is kept valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshGoal {
    /// Refreshes before the refresh token expires from disuse: few exchanges, and the grant
    /// survives.
    KeepAlive,
    /// Refreshes before the access token expires, so that the application always finds a valid one.
    KeepFresh,
}

/// When a new document is refreshed first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstRefresh {
    /// According to the age of its tokens, if the document shows it; otherwise at once.
    #[default]
    Spread,
    /// At once.
    AtOnce,
}

/// A provider's lifetimes and their use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshSchedule {
    /// Which of the two tokens determines the schedule.
    pub keep: RefreshGoal,
    /// The access token's lifetime, if the answer does not report it.
    pub access_lifetime: Duration,
    /// Whether nobody has told that lifetime, so that it is a guess.
    pub access_is_assumed: bool,
    /// How long an unused refresh token lives, if the answer does not report it. None: for ever.
    pub refresh_idle_lifetime: Option<Duration>,
    /// How long a grant lives in any case. None: for ever.
    pub refresh_absolute_lifetime: Option<Duration>,
    /// The share of the lifetime after which a refresh is due, in per cent, 1 to 95.
    pub refresh_after_percent: u8,
    /// The largest shift to an earlier due time, in per cent of the lifetime. It spreads an import
    /// over time.
    pub jitter_percent: u8,
    /// When a new document is refreshed first.
    pub adopt: FirstRefresh,
}

/// The times after a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshTimes {
    /// When the access token expires.
    pub access_expires_at: Timestamp,
    /// Whether that is a guess: neither the answer nor the settings tell it. Missing in answers of earlier
    /// releases.
    #[serde(default)]
    pub access_is_assumed: bool,
    /// When the refresh token expires without an exchange.
    pub refresh_idle_until: Option<Timestamp>,
    /// When the grant ends in any case.
    pub refresh_absolute_until: Option<Timestamp>,
    /// When the next refresh is due.
    pub next_refresh_at: Timestamp,
}

/// The known ends of the tokens before a refresh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownEnds {
    /// When the access token expires.
    pub access: Option<Timestamp>,
    /// When the refresh token expires without an exchange.
    pub idle: Option<Timestamp>,
    /// When the grant ends in any case.
    pub absolute: Option<Timestamp>,
}

/// A refresh token without a known end is exchanged this often, to notice a revoked grant.
const KEEP_ALIVE_LIFETIME_MAX: Duration = Duration::from_secs(60 * 86_400);
/// The shortest time between two refreshes of a grant.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// The same if the last refresh has moved the end by no more than [`UNMOVED_MAX`]. Another refresh
/// soon would not move it either: near the end of a session, or where a provider returns the same
/// access token.
const UNMOVED_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// An end that moves by no more than this, or by no more than an eighth of the lifetime, counts as
/// unmoved: answers have whole seconds and take some time.
const UNMOVED_MAX: Duration = Duration::from_secs(5);

impl RefreshSchedule {
    /// The times after a refresh at `refreshed_at`. What the answer `told` has priority. A
    /// successor inherits the absolute end in `known`, as with Okta and Atlassian. If that has
    /// passed while the token still works, it was not this grant's, and a new one is computed.
    ///
    /// ```
    /// # #[cfg(feature = "examples")] {
    /// use std::time::Duration;
    ///
    /// use evergrant_domain::schedule::{KnownEnds, RefreshSchedule};
    /// use evergrant_domain::{DocumentId, Timestamp, ToldEnds};
    ///
    /// let now = Timestamp::from_unix_ms(1_700_000_000_000);
    /// // Refresh tokens live for 14 days unless they are used.
    /// let schedule = RefreshSchedule::example();
    /// let id = DocumentId::Integer(1);
    /// let times = schedule.after_refresh(&id, now, ToldEnds::default(), KnownEnds::default());
    /// let wait = times.next_refresh_at.since(now);
    /// assert!(wait > Duration::from_secs(5 * 86_400) && wait < Duration::from_secs(9 * 86_400));
    /// # }
    /// ```
    pub fn after_refresh(
        &self,
        id: &DocumentId,
        refreshed_at: Timestamp,
        told: ToldEnds,
        known: KnownEnds,
    ) -> RefreshTimes {
        let life = |told: Option<TokenExpiry>| told.and_then(|end| end.life_from(refreshed_at));
        let told_access = life(told.access);
        let access = told_access.unwrap_or(self.access_lifetime);
        let idle = life(told.idle).or(self.refresh_idle_lifetime);
        let access_expires_at = refreshed_at.plus(access);
        let refresh_idle_until = idle.map(|idle| refreshed_at.plus(idle));
        let refresh_absolute_until = life(told.absolute)
            .map(|life| refreshed_at.plus(life))
            .or_else(|| known.absolute.filter(|end| *end > refreshed_at))
            .or_else(|| self.refresh_absolute_lifetime.map(|life| refreshed_at.plus(life)));
        let until_end = refresh_absolute_until.map(|end| end.since(refreshed_at));
        let (wait, unmoved) = match self.keep {
            RefreshGoal::KeepFresh => {
                (self.wait(id, access), is_unmoved(known.access, refreshed_at, Some(access)))
            }
            RefreshGoal::KeepAlive => (
                self.wait_to_keep_alive(id, idle, until_end),
                is_unmoved(known.idle, refreshed_at, idle),
            ),
        };
        let least = if unmoved { UNMOVED_INTERVAL_MIN } else { REFRESH_INTERVAL_MIN };
        RefreshTimes {
            access_expires_at,
            access_is_assumed: told_access.is_none() && self.access_is_assumed,
            refresh_idle_until,
            refresh_absolute_until,
            next_refresh_at: refreshed_at.plus(wait.max(least)),
        }
    }

    /// The wait to keep a grant alive. An absolute end counts by the whole lifetime and not by the
    /// rest of it, because no refresh moves it: the last refresh before it is followed by one at
    /// the end, which shows the state.
    fn wait_to_keep_alive(
        &self,
        id: &DocumentId,
        idle: Option<Duration>,
        until_end: Option<Duration>,
    ) -> Duration {
        // However long a lifetime is said to be: a wrong value would show only when the grants are
        // dead.
        let shortest = [idle, self.refresh_absolute_lifetime].into_iter().flatten().min();
        let lifetime =
            shortest.map_or(KEEP_ALIVE_LIFETIME_MAX, |it| it.min(KEEP_ALIVE_LIFETIME_MAX));
        let wait = self.wait(id, lifetime);
        let is_last = |until_end: &Duration| {
            *until_end <= wait + wait / 2 && idle.is_none_or(|idle| *until_end <= idle / 100 * 95)
        };
        until_end.filter(is_last).unwrap_or(wait)
    }

    /// The wait: a share of the lifetime, minus a jitter that depends on the id only.
    fn wait(&self, id: &DocumentId, lifetime: Duration) -> Duration {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let percent = |share: u8| lifetime_ms / 100 * u64::from(share);
        let jitter_ms = stable_hash(id) % (percent(self.jitter_percent) + 1);
        Duration::from_millis(percent(self.refresh_after_percent).saturating_sub(jitter_ms))
    }
}

/// Whether a lifetime that begins now ends when the previous one did.
fn is_unmoved(known: Option<Timestamp>, now: Timestamp, lifetime: Option<Duration>) -> bool {
    known.zip(lifetime).is_some_and(|(known, lifetime)| {
        now.plus(lifetime) <= known.plus(UNMOVED_MAX.min(lifetime / 8))
    })
}

#[cfg(any(test, feature = "examples"))]
impl RefreshSchedule {
    /// Autodesk's schedule, as a basis for tests.
    pub fn example() -> Self {
        const HOUR: Duration = Duration::from_secs(3_600);
        Self {
            keep: RefreshGoal::KeepAlive,
            access_lifetime: HOUR,
            access_is_assumed: false,
            refresh_idle_lifetime: Some(14 * 24 * HOUR),
            refresh_absolute_lifetime: None,
            refresh_after_percent: 50,
            jitter_percent: 10,
            adopt: FirstRefresh::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    fn told(access_s: Option<u64>, idle_s: Option<u64>) -> ToldEnds {
        let life = |s: Option<u64>| s.map(|s| TokenExpiry::In(Duration::from_secs(s)));
        ToldEnds { access: life(access_s), idle: life(idle_s), absolute: None }
    }

    #[test]
    fn keep_alive_refreshes_well_before_the_refresh_token_dies() {
        let times = RefreshSchedule::example().after_refresh(
            &DocumentId::Integer(1),
            NOW,
            told(Some(3600), None),
            NOTHING,
        );
        assert_eq!(times.access_expires_at, NOW.plus(Duration::from_secs(3600)));
        assert_eq!(times.refresh_idle_until, Some(NOW.plus(14 * DAY)));
        let wait = times.next_refresh_at.since(NOW);
        assert!(wait <= 7 * DAY && wait >= 5 * DAY, "{wait:?}");
    }

    #[test]
    fn keep_alive_refreshes_at_least_every_thirty_days() {
        for idle in [None, Some(365 * DAY)] {
            let schedule =
                RefreshSchedule { refresh_idle_lifetime: idle, ..RefreshSchedule::example() };
            let wait = times_known(&schedule, NOTHING).next_refresh_at.since(NOW);
            assert!(wait <= 30 * DAY && wait >= 24 * DAY, "{idle:?}: {wait:?}");
        }
    }

    #[test]
    fn keep_fresh_refreshes_before_the_access_token_expires() {
        let schedule = RefreshSchedule {
            keep: RefreshGoal::KeepFresh,
            refresh_after_percent: 75,
            ..RefreshSchedule::example()
        };
        let times =
            schedule.after_refresh(&DocumentId::Integer(1), NOW, told(Some(1800), None), NOTHING);
        let wait = times.next_refresh_at.since(NOW);
        assert!(wait <= Duration::from_secs(1350) && wait >= Duration::from_secs(1170), "{wait:?}");
    }

    /// Nothing is known about the previous tokens.
    const NOTHING: KnownEnds = KnownEnds { access: None, idle: None, absolute: None };

    fn times_known(schedule: &RefreshSchedule, known: KnownEnds) -> RefreshTimes {
        schedule.after_refresh(&DocumentId::Integer(1), NOW, told(None, None), known)
    }

    #[test]
    fn an_end_that_the_answer_or_the_settings_tell_is_not_assumed() {
        let guess = RefreshSchedule { access_is_assumed: true, ..RefreshSchedule::example() };
        assert!(times_known(&guess, NOTHING).access_is_assumed);
        assert!(!times_known(&RefreshSchedule::example(), NOTHING).access_is_assumed);
        let id = DocumentId::Integer(1);
        let times = guess.after_refresh(&id, NOW, told(Some(60), None), NOTHING);
        assert!(!times.access_is_assumed);
    }

    #[test]
    fn times_of_earlier_releases_are_read() {
        let times = times_known(&RefreshSchedule::example(), NOTHING);
        let mut written = serde_json::to_value(times).unwrap();
        written.as_object_mut().unwrap().remove("access_is_assumed");
        assert_eq!(serde_json::from_value::<RefreshTimes>(written).unwrap(), times);
    }

    #[test]
    fn an_absolute_end_is_inherited_and_not_extended() {
        let end = NOW.plus(DAY);
        let times =
            times_known(&RefreshSchedule::example(), KnownEnds { absolute: Some(end), ..NOTHING });
        assert_eq!(times.refresh_absolute_until, Some(end));
        assert_eq!(times.next_refresh_at, end, "what is left of it sets no pace");
    }

    #[test]
    fn a_passed_absolute_end_of_a_working_token_is_recomputed() {
        let schedule = RefreshSchedule {
            refresh_absolute_lifetime: Some(90 * DAY),
            ..RefreshSchedule::example()
        };
        let passed = KnownEnds { absolute: Some(NOW.minus(DAY)), ..NOTHING };
        let times = times_known(&schedule, passed);
        assert_eq!(times.refresh_absolute_until, Some(NOW.plus(90 * DAY)));
        assert!(times.next_refresh_at >= NOW.plus(5 * DAY));
        assert_eq!(times_known(&RefreshSchedule::example(), passed).refresh_absolute_until, None);
    }

    #[test]
    fn an_absolute_end_in_the_answer_replaces_the_known_one() {
        let (known, end) = (NOW.plus(90 * DAY), NOW.plus(30 * DAY));
        for absolute in [TokenExpiry::In(30 * DAY), TokenExpiry::At(end)] {
            let told = ToldEnds { absolute: Some(absolute), ..ToldEnds::default() };
            let known = KnownEnds { absolute: Some(known), ..NOTHING };
            let schedule = RefreshSchedule::example();
            let times = schedule.after_refresh(&DocumentId::Integer(1), NOW, told, known);
            assert_eq!(times.refresh_absolute_until, Some(end));
        }
    }

    #[test]
    fn a_past_expiry_in_the_answer_is_ignored() {
        let past = Some(TokenExpiry::At(NOW.minus(DAY)));
        let told = ToldEnds { access: past, idle: past, absolute: past };
        let schedule = RefreshSchedule::example();
        let times = schedule.after_refresh(&DocumentId::Integer(1), NOW, told, NOTHING);
        assert_eq!(times, times_known(&schedule, NOTHING));
    }

    /// How often a grant is refreshed within a time, given when each next refresh is due.
    fn count_within(time: Duration, mut next: impl FnMut(Timestamp) -> Timestamp) -> u32 {
        let (mut now, mut count) = (NOW, 0);
        while now < NOW.plus(time) {
            count += 1;
            now = next(now);
        }
        count
    }

    #[test]
    fn a_grant_near_its_end_is_not_refreshed_every_pass() {
        let minute = Duration::from_secs(60);
        for id in 0..100 {
            let schedule = RefreshSchedule {
                refresh_absolute_lifetime: Some(minute),
                ..RefreshSchedule::example()
            };
            let mut known = NOTHING;
            let count = count_within(150 * minute / 60, |now| {
                let times =
                    schedule.after_refresh(&DocumentId::Integer(id), now, told(None, None), known);
                known.absolute = times.refresh_absolute_until;
                times.next_refresh_at
            });
            assert!((4..=8).contains(&count), "{count}");
        }
    }

    #[test]
    fn an_end_that_no_refresh_moves_is_not_chased() {
        let session = NOW.plus(Duration::from_secs(900));
        for keep in [RefreshGoal::KeepAlive, RefreshGoal::KeepFresh] {
            let schedule = RefreshSchedule { keep, ..RefreshSchedule::example() };
            let mut known = NOTHING;
            let count = count_within(Duration::from_secs(900), |now| {
                let left = Some(session.since(now).as_secs());
                let id = DocumentId::Integer(1);
                let times = schedule.after_refresh(&id, now, told(left, left), known);
                known.access = Some(times.access_expires_at);
                known.idle = times.refresh_idle_until;
                times.next_refresh_at
            });
            assert!(count <= 8, "{count}");
        }
    }

    #[test]
    fn short_lifetimes_are_kept_but_the_shortest_are_not_chased() {
        let schedule =
            RefreshSchedule { keep: RefreshGoal::KeepFresh, ..RefreshSchedule::example() };
        let wait = |expires_in_s| {
            let id = DocumentId::Integer(1);
            let times = schedule.after_refresh(&id, NOW, told(Some(expires_in_s), None), NOTHING);
            times.next_refresh_at.since(NOW)
        };
        assert!(wait(20) <= Duration::from_secs(10));
        let known = KnownEnds { access: Some(NOW.plus(Duration::from_secs(5))), ..NOTHING };
        let id = DocumentId::Integer(1);
        let times = schedule.after_refresh(&id, NOW, told(Some(10), None), known);
        assert_eq!(times.next_refresh_at, NOW.plus(REFRESH_INTERVAL_MIN), "the end has moved");
        assert_eq!(wait(1), REFRESH_INTERVAL_MIN);
    }

    #[test]
    fn an_imports_due_times_are_spread() {
        let due: std::collections::HashSet<_> = (0..1_000)
            .map(|n| {
                RefreshSchedule::example().after_refresh(
                    &DocumentId::Integer(n),
                    NOW,
                    told(None, None),
                    NOTHING,
                )
            })
            .map(|times| times.next_refresh_at)
            .collect();
        assert!(due.len() > 990);
    }

    proptest! {
        #[test]
        fn a_refresh_is_due_before_its_token_expires(
            id in any::<i64>(), access_s in 6_u64..1_000_000, idle_s in 6_u64..10_000_000,
            after in 1_u8..=95, jitter in 0_u8..=95, fresh in any::<bool>()
        ) {
            let keep = if fresh { RefreshGoal::KeepFresh } else { RefreshGoal::KeepAlive };
            let schedule = RefreshSchedule { keep, refresh_after_percent: after, jitter_percent: jitter, ..RefreshSchedule::example() };
            let id = DocumentId::Integer(id);
            let times = schedule.after_refresh(&id, NOW, told(Some(access_s), Some(idle_s)), NOTHING);
            let end = if fresh { times.access_expires_at } else { times.refresh_idle_until.unwrap() };
            prop_assert!(times.next_refresh_at >= NOW && times.next_refresh_at < end);
        }
    }
}
