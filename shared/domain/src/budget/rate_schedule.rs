//! The rate schedule of a provider: GCRA as virtual scheduling. Any number of replicas share it
//! through one number: the time up to which slots are taken.
//!
//! Slots are evenly spaced, as far apart as the strictest limit requires, so one schedule keeps
//! several limits. A replica reserves the next few slots, a slice, and sends one request at each.
//! The provider counts requests when they arrive, so the spacing allows for some lateness
//! ([`RateLimit::spacing`]). Lateness beyond that is paid for: as much as the excess, but at most
//! one slot. With that, no window holds more than the limit:
//!
//! A window contains the requests that arrived too late from before it, and those whose slot is
//! within it or within the tolerance before it, at most `requests`. Each of the former except the
//! last is late by a slot or more, and has removed a whole slot from the latter; the last one has
//! removed as much as it was too late.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limit::RateLimit;
use crate::PreciseTimestamp;

/// The least lateness that is tolerated. Timers, schedulers and networks need it, and it costs 1.5
/// % of a limit per second.
pub const TOLERATED_DELAY: Duration = Duration::from_millis(15);
/// The tolerance grows up to this fraction of a limit's window, if requests are often late.
const TOLERANCE_DIVISOR: u32 = 4;

/// The clock of a replica counts as exact if its error is at most this. Most of the error is the
/// round trip to the store, which is similar for all replicas.
pub const CLOCK_ERROR_MAX: Duration = Duration::from_millis(25);

/// How far ahead slots may be reserved. Short, so that a pause acts at once and a replica that dies
/// takes few slots with it; long enough for reservations without haste. It is longer where
/// reservations take long: see [`horizon`].
const HORIZON_MAX: Duration = Duration::from_millis(400);
/// The longest slice, unless a reservation takes long.
const SLICE_MAX: Duration = Duration::from_millis(250);
/// The longest expected duration of a reservation.
pub const RESERVATION_LATENCY_MAX: Duration = Duration::from_secs(3);
/// No reservation or debt leads further ahead than this and one slot. A schedule that is further
/// ahead was written under another limit, or before the store's clock was set back.
const AHEAD_MAX: Duration = Duration::from_secs(10);

/// A provider's rate, as all replicas share it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateSchedule {
    /// The first slot that is not reserved.
    next: PreciseTimestamp,
    /// How late requests were recently, in microseconds, if that is more than [`TOLERATED_DELAY`].
    late_us: u64,
    /// When that was noted.
    late_at: PreciseTimestamp,
}

/// What a replica asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRequest {
    /// The store's time.
    pub now: PreciseTimestamp,
    /// How long a reservation takes: no slot is sooner than that.
    pub lead: Duration,
    /// How many requests wait for a slot.
    pub wanted: u32,
    /// The debt of requests that arrived too late.
    pub debt: Duration,
    /// How late requests usually are.
    pub lateness: Duration,
    /// The possible error of `now`, in either direction.
    pub unsure: Duration,
}

impl SlotRequest {
    /// How much later than by its own clock a replica must send, so that no request is early.
    pub fn shift(&self) -> Duration {
        if self.unsure > CLOCK_ERROR_MAX { self.unsure } else { Duration::ZERO }
    }
}

/// Slots that one replica has reserved: `count` of them from `first` on, `spacing` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotReservation {
    /// The first slot.
    pub first: PreciseTimestamp,
    /// The time between two slots.
    pub spacing: Duration,
    /// How many there are, at least 1.
    pub count: u32,
    /// A request that arrives later than this after its slot pays for it.
    pub tolerance: Duration,
    /// How much later than by its own clock the replica must send; see [`SlotRequest::shift`].
    pub shift: Duration,
}

impl SlotReservation {
    /// One slot at a provider without limits.
    pub fn without_limit(ask: &SlotRequest) -> Self {
        let (spacing, tolerance, shift) = (Duration::ZERO, Duration::MAX, Duration::ZERO);
        Self { first: ask.now, spacing, count: 1, tolerance, shift }
    }

    /// The slots.
    pub fn slots(&self) -> impl Iterator<Item = PreciseTimestamp> {
        let Self { first, spacing, count, .. } = *self;
        (0..count).map(move |index| first.plus(spacing.saturating_mul(index)))
    }
}

impl RateSchedule {
    /// Pays the debt and reserves slots within the horizon. None if there are none, or none are
    /// wanted. Without `limits` there is nothing to reserve.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use evergrant_domain::PreciseTimestamp;
    /// use evergrant_domain::rate_schedule::{RateSchedule, SlotRequest};
    ///
    /// let request = SlotRequest {
    ///     now: PreciseTimestamp::from_unix_us(1_700_000_000_000_000),
    ///     lead: Duration::from_millis(10),
    ///     wanted: 3,
    ///     debt: Duration::ZERO,
    ///     lateness: Duration::ZERO,
    ///     unsure: Duration::ZERO,
    /// };
    /// let slots = RateSchedule::default().reserve(&["10/s".parse()?], &request);
    /// let slots = slots.expect("an unused schedule has slots");
    /// // Ten in a second, evenly spaced, and a little less.
    /// assert!(slots.spacing >= Duration::from_millis(100) && slots.count <= 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(&mut self, limits: &[RateLimit], ask: &SlotRequest) -> Option<SlotReservation> {
        let binding = self.note_lateness(limits, ask)?;
        let spacing = binding.spacing(self.tolerance());
        self.next = self.next_under(spacing, ask.now);
        if !ask.debt.is_zero() {
            let paid = self.next.max(ask.now).plus(ask.debt.min(AHEAD_MAX));
            self.next = paid.min(ask.now.plus(AHEAD_MAX)).max(self.next);
        }
        // The latest possible time: a slot in the past would be free for another replica.
        let shift = ask.shift();
        let now = ask.now.plus(shift);
        let lead = ask.lead.min(RESERVATION_LATENCY_MAX);
        let first = self.next.max(now.plus(lead));
        let slice = SLICE_MAX.max(lead * 5 / 3);
        let end = now.plus(horizon(binding.per(), lead)).min(first.plus(slice));
        // The price for an inexact clock is the same for a long slice.
        let least = if shift.is_zero() { Duration::ZERO } else { slice / 2 };
        if first.plus(least) >= end || ask.wanted == 0 {
            return None;
        }
        let room = end.since(first).as_nanos().div_ceil(spacing.as_nanos().max(1));
        let count = ask.wanted.min(u32::try_from(room).unwrap_or(u32::MAX));
        // The whole slice is late by the same amount, at most by this, and what follows comes after
        // it.
        let paid = shift.saturating_mul(2);
        self.next = first.plus(spacing.saturating_mul(count)).plus(paid);
        Some(SlotReservation { first, spacing, count, tolerance: self.judged_by(), shift })
    }

    /// The time between two slots under these limits; None without limits.
    pub fn spacing(&self, limits: &[RateLimit]) -> Option<Duration> {
        let tolerance = self.tolerance();
        binding(limits, tolerance).map(|limit| limit.spacing(tolerance))
    }

    /// The window of the limit that binds.
    pub fn window(&self, limits: &[RateLimit]) -> Option<Duration> {
        binding(limits, self.tolerance()).map(RateLimit::per)
    }

    /// How long until slots can be reserved again, if there are none now within the horizon of a
    /// replica whose reservations take `lead`.
    pub fn full_for(
        &self,
        limits: &[RateLimit],
        now: PreciseTimestamp,
        lead: Duration,
    ) -> Duration {
        let Some(binding) = binding(limits, self.tolerance()) else { return Duration::ZERO };
        let next = self.next_under(binding.spacing(self.tolerance()), now);
        next.since(now).saturating_sub(horizon(binding.per(), lead).max(HORIZON_MAX))
    }

    /// The next free slot at this spacing.
    fn next_under(&self, spacing: Duration, now: PreciseTimestamp) -> PreciseTimestamp {
        let too_far = self.next.since(now) > AHEAD_MAX.saturating_add(spacing);
        if too_far { now.plus(spacing) } else { self.next }
    }

    /// The limit that binds, after noting the lateness in `ask`.
    ///
    /// The noted lateness decays slowly, by a tenth in each window. Requests are judged by nine
    /// tenths of it ([`Self::judged_by`]), so all slots of the last window allow for that much.
    ///
    /// A debt moves only slots that are not reserved yet. If the horizon is so far ahead that this
    /// is too late for the window, lateness is allowed for in advance.
    fn note_lateness(&mut self, limits: &[RateLimit], ask: &SlotRequest) -> Option<RateLimit> {
        let binding = binding(limits, self.tolerance())?;
        let window_us = u64::try_from(binding.per().as_micros()).unwrap_or(u64::MAX).max(1);
        let passed_us = u64::try_from(ask.now.since(self.late_at).as_micros()).unwrap_or(u64::MAX);
        let windows = passed_us / window_us;
        if windows > 0 && self.late_us > 0 {
            for _ in 0..windows.min(100) {
                self.late_us = self.late_us / 10 * 9;
            }
            self.late_at = ask.now;
        }
        let unpayable =
            horizon(binding.per(), ask.lead).saturating_sub(usual_horizon(binding.per()));
        let late = ask.lateness.max(unpayable) * 10 / 9;
        let late = late.min(binding.per() / TOLERANCE_DIVISOR);
        let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        if late > TOLERATED_DELAY && late_us > self.late_us {
            self.late_us = late_us;
            self.late_at = ask.now;
        }
        Some(binding)
    }

    fn tolerance(&self) -> Duration {
        Duration::from_micros(self.late_us).max(TOLERATED_DELAY)
    }

    fn judged_by(&self) -> Duration {
        (self.tolerance() * 9 / 10).max(TOLERATED_DELAY)
    }
}

/// How far ahead slots may be reserved under a limit with this window, by a replica whose
/// reservations take `lead`. Beyond the lead there is room for a slice, so that a slow store lowers
/// the rate but does not stop it.
fn horizon(per: Duration, lead: Duration) -> Duration {
    usual_horizon(per).max(lead.min(RESERVATION_LATENCY_MAX) * 8 / 3)
}

fn usual_horizon(per: Duration) -> Duration {
    HORIZON_MAX.min(per * 2 / 5)
}

/// The limit that requires the widest spacing.
fn binding(limits: &[RateLimit], tolerance: Duration) -> Option<RateLimit> {
    limits.iter().copied().max_by_key(|limit| limit.spacing(tolerance))
}

#[cfg(test)]
mod tests;
