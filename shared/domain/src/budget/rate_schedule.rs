//! The rate schedule of a provider: GCRA as virtual scheduling. Any number of replicas keep it by one
//! number that says up to when slots are taken.
//!
//! Requests are placed evenly, as far apart as the strictest limit wants, so one schedule keeps several
//! limits. A replica reserves the next few slots, a slice, and sends one request at each. What
//! counts for the provider is when requests arrive, so the spacing allows for some lateness
//! ([`RateLimit::spacing`]), and what is later than that is paid for: by as much as it was too late, but
//! at most by one slot. Then no window holds more than the limit:
//!
//! A window sees those that arrived too late from before it, and those whose slot lies within it
//! and the tolerance before it, at most `requests`. Each of the former but the last one is a
//! slot or more too late and took away a whole slot from the latter; the last one took away as much as it was
//! too late.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limit::RateLimit;
use crate::PreciseTimestamp;

/// How much later than usual a request may arrive before it is paid for, at the least. It is what
/// timers, schedulers and networks need, and costs 1.5 % of a limit of a second.
pub const TOLERATED_DELAY: Duration = Duration::from_millis(15);
/// The tolerance grows up to this part of a limit's window, where requests are often late.
const TOLERANCE_DIVISOR: u32 = 4;

/// A replica whose clock may be wrong by no more than this is believed. Most of what it may be wrong
/// by is the way to the store and back, which is about the same for all replicas.
pub const CLOCK_ERROR_MAX: Duration = Duration::from_millis(25);

/// How far ahead slots may be reserved. Little, so that a pause bites at once and a replica
/// that dies takes little with it; and enough that nobody has to hurry. Where a reservation takes
/// long it is further: see [`horizon`].
const HORIZON_MAX: Duration = Duration::from_millis(400);
/// The longest slice, unless a reservation takes long.
const SLICE_MAX: Duration = Duration::from_millis(250);
/// A reservation is expected to take no longer than this.
pub const RESERVATION_LATENCY_MAX: Duration = Duration::from_secs(3);
/// No reservation and no debt leads further ahead than this and one slot. A schedule that is further ahead was
/// written under another limit, or before the store's clock was set back.
const AHEAD_MAX: Duration = Duration::from_secs(10);

/// A provider's rate as all replicas keep it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateSchedule {
    /// The first slot that nobody has reserved.
    next: PreciseTimestamp,
    /// How late requests were lately, if that is more than [`TOLERATED_DELAY`], in microseconds.
    late_us: u64,
    /// When that was so.
    late_at: PreciseTimestamp,
}

/// What a replica wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRequest {
    /// The store's clock.
    pub now: PreciseTimestamp,
    /// How long it takes until a reservation is in the store: no slot is sooner than that.
    pub lead: Duration,
    /// How many requests wait for a slot.
    pub wanted: u32,
    /// What requests that arrived too late have to pay.
    pub debt: Duration,
    /// How late requests usually are.
    pub lateness: Duration,
    /// How wrong `now` may be, to either side.
    pub unsure: Duration,
}

impl SlotRequest {
    /// How much later than by its own clock a replica must send: none of its requests may be early.
    pub fn shift(&self) -> Duration {
        if self.unsure > CLOCK_ERROR_MAX { self.unsure } else { Duration::ZERO }
    }
}

/// Slots that are a replica's own: `count` of them from `first` on, `spacing` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotReservation {
    /// The first slot.
    pub first: PreciseTimestamp,
    /// The time between two slots.
    pub spacing: Duration,
    /// How many there are; at least 1.
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
    /// Pays the debt and reserves slots, if there are some within the horizon. None if not, or if
    /// none are wanted. Without `limits` there is nothing to reserve.
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
        // The latest that it may be: a slot in the past would be free for another replica.
        let shift = ask.shift();
        let now = ask.now.plus(shift);
        let lead = ask.lead.min(RESERVATION_LATENCY_MAX);
        let first = self.next.max(now.plus(lead));
        let slice = SLICE_MAX.max(lead * 5 / 3);
        let end = now.plus(horizon(binding.per(), lead)).min(first.plus(slice));
        // What a slice pays for an unsure clock is the same for a long one.
        let least = if shift.is_zero() { Duration::ZERO } else { slice / 2 };
        if first.plus(least) >= end || ask.wanted == 0 {
            return None;
        }
        let room = end.since(first).as_nanos().div_ceil(spacing.as_nanos().max(1));
        let count = ask.wanted.min(u32::try_from(room).unwrap_or(u32::MAX));
        // All of the slice is late by the same, at most by this: what follows comes after it.
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

    /// How long until slots may be reserved again, if now there are none within the horizon of a
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

    /// The next slot that is free, at this spacing.
    fn next_under(&self, spacing: Duration, now: PreciseTimestamp) -> PreciseTimestamp {
        let too_far = self.next.since(now) > AHEAD_MAX.saturating_add(spacing);
        if too_far { now.plus(spacing) } else { self.next }
    }

    /// The limit that binds, with the lateness of `ask` taken into account.
    ///
    /// The lateness is forgotten slowly, by a tenth in each window: what is judged by nine tenths
    /// of it ([`Self::judged_by`]) has then been allowed for by all that follows within a window.
    ///
    /// A debt moves only what is not reserved yet. Where the horizon is so far ahead that this is too
    /// late for the window, lateness is allowed for beforehand.
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

/// How far ahead slots may be reserved under a limit of this window, by a replica whose reservations
/// take `lead`. Behind the lead there is room for a slice, so that a slow store lowers the rate and
/// does not end it.
fn horizon(per: Duration, lead: Duration) -> Duration {
    usual_horizon(per).max(lead.min(RESERVATION_LATENCY_MAX) * 8 / 3)
}

fn usual_horizon(per: Duration) -> Duration {
    HORIZON_MAX.min(per * 2 / 5)
}

/// The limit that wants requests furthest apart.
fn binding(limits: &[RateLimit], tolerance: Duration) -> Option<RateLimit> {
    limits.iter().copied().max_by_key(|limit| limit.spacing(tolerance))
}

#[cfg(test)]
mod tests;
