//! Concurrency target: how much work a worker keeps under way, derived from its rate and the
//! provider's latency, so that nobody has to set it.

use std::collections::VecDeque;
use std::time::Duration;

/// Tracks a worker's rate and the provider's latency.
///
/// By Little's law, `rate × latency` requests are under way on average. Twice that number is
/// allowed, so that the rate can grow. The latency is the shortest recent one, so that a queue at
/// the provider or on the way does not reinforce itself.
#[derive(Debug)]
pub struct ConcurrencyEstimate {
    /// Requests since [`Self::counted_from`].
    sent: u32,
    counted_from: Duration,
    per_s: f64,
    latencies: VecDeque<Duration>,
}

/// How much work a worker keeps under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConcurrencyTarget {
    /// Requests that are sent or wait for a slot.
    pub under_way: u16,
    /// Documents that are claimed but not yet sent.
    pub ahead: u16,
}

impl ConcurrencyTarget {
    /// The target before anything is known. Other workers may have as many claims, which all wait
    /// for the same limit.
    pub fn at_first(bounds: &ConcurrencyBounds) -> Self {
        let as_many = bounds.under_way;
        let ahead = bounds.spacing.map_or(as_many, |spacing| whole_of(FIRST_CLAIM_DELAY, spacing));
        Self {
            under_way: FEW_UNDER_WAY.min(bounds.under_way),
            ahead: ahead.min(bounds.ahead).max(1),
        }
    }
}

/// The upper limits of a [`ConcurrencyTarget`].
#[derive(Debug, Clone, Copy)]
pub struct ConcurrencyBounds {
    /// The most requests under way.
    pub under_way: u16,
    /// The most documents claimed but not yet sent.
    pub ahead: u16,
    /// The time between two requests of all workers, if there is a limit.
    pub spacing: Option<Duration>,
}

/// The interval of counting. Each new count has the same weight as all earlier ones.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);
/// The number of latencies that are kept.
const MEMORY: usize = 64;
/// The lowest target: room for a start, and for commits in large groups.
const FEW_UNDER_WAY: u16 = 128;
const FEW_AHEAD: u16 = 2;
/// The first target for claims ahead, as the time in which the limit admits them.
const FIRST_CLAIM_DELAY: Duration = Duration::from_millis(250);
/// How far ahead slots are reserved, which is also how long requests wait for theirs.
const SLOT_DELAY_S: f64 = 0.4;

impl ConcurrencyEstimate {
    /// A worker that has sent nothing yet.
    pub fn new(now: Duration) -> Self {
        Self { sent: 0, counted_from: now, per_s: 0.0, latencies: VecDeque::new() }
    }

    /// Notes that a request is sent. Returns a new target at intervals.
    pub fn sent(&mut self, now: Duration, bounds: &ConcurrencyBounds) -> Option<ConcurrencyTarget> {
        self.sent = self.sent.saturating_add(1);
        let counted = now.saturating_sub(self.counted_from);
        if counted < COUNT_INTERVAL {
            return None;
        }
        let latest = f64::from(self.sent) / counted.as_secs_f64();
        self.per_s = if self.per_s == 0.0 { latest } else { (self.per_s + latest) / 2.0 };
        (self.sent, self.counted_from) = (0, now);
        Some(self.in_hand(bounds))
    }

    /// Notes that its answer came after this time.
    pub fn answered(&mut self, latency: Duration) {
        if self.latencies.len() == MEMORY {
            self.latencies.pop_front();
        }
        self.latencies.push_back(latency);
    }

    fn in_hand(&self, bounds: &ConcurrencyBounds) -> ConcurrencyTarget {
        let quickest = self.latencies.iter().min().copied().unwrap_or_default().as_secs_f64();
        let takes_s = quickest + if bounds.spacing.is_some() { SLOT_DELAY_S } else { 0.0 };
        let under_way = whole(self.per_s * takes_s * 2.0).max(FEW_UNDER_WAY).min(bounds.under_way);
        // Claims ahead are hidden from other workers, and released when their time is over. So
        // there are no more than go out within a second or two.
        let soon = whole(self.per_s * 1.5).max(FEW_AHEAD);
        let a_second = |spacing| whole_of(Duration::from_secs(1), spacing).max(1);
        let ahead = bounds.spacing.map_or(soon, |spacing| soon.min(a_second(spacing)));
        ConcurrencyTarget { under_way, ahead: ahead.min(bounds.ahead).max(1) }
    }
}

/// How often `spacing` fits into `time`.
fn whole_of(time: Duration, spacing: Duration) -> u16 {
    let times = time.as_nanos() / spacing.as_nanos().max(1);
    u16::try_from(times).unwrap_or(u16::MAX)
}

/// Rounded up, within bounds.
fn whole(number: f64) -> u16 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is within the range"
    )]
    let whole = number.ceil().clamp(0.0, f64::from(u16::MAX)) as u16;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ConcurrencyBounds =
        ConcurrencyBounds { under_way: 512, ahead: 64, spacing: None };

    /// The target after two seconds at this rate and latency.
    fn in_hand(per_s: u32, latency: Duration, bounds: ConcurrencyBounds) -> ConcurrencyTarget {
        let mut concurrency = ConcurrencyEstimate::new(Duration::ZERO);
        let times = (1..=per_s * 2).map(|index| Duration::from_secs(1) * index / per_s);
        let last = times.filter_map(|now| {
            concurrency.answered(latency);
            concurrency.sent(now, &bounds)
        });
        last.last().unwrap()
    }

    fn limited(requests: u32) -> ConcurrencyBounds {
        ConcurrencyBounds { spacing: Some(Duration::from_secs(1) / requests), ..BOUNDS }
    }

    #[test]
    fn requests_under_way_follow_rate_and_latency_within_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(in_hand(1_000, ms(100), BOUNDS).under_way, 200);
        assert_eq!(in_hand(1_000, ms(1), BOUNDS).under_way, FEW_UNDER_WAY);
        assert_eq!(in_hand(1_000, ms(900), BOUNDS).under_way, 512);
        assert_eq!(in_hand(200, ms(600), limited(200)).under_way, 400);
    }

    #[test]
    fn claims_ahead_cover_a_second_or_two() {
        let ms = Duration::from_millis;
        assert_eq!(in_hand(1_000, ms(1), BOUNDS).ahead, 64);
        assert_eq!(in_hand(12, ms(1), limited(200)).ahead, 18);
        assert_eq!(in_hand(200, ms(1), limited(200)).ahead, 64);
        assert_eq!(in_hand(10, ms(1), limited(10)).ahead, 10);
        assert_eq!(in_hand(2, ms(1), limited(1)).ahead, 1);
    }

    #[test]
    fn a_new_worker_claims_what_the_limit_admits_soon() {
        let ahead = |bounds: ConcurrencyBounds| ConcurrencyTarget::at_first(&bounds).ahead;
        assert_eq!(ahead(BOUNDS), 64);
        assert_eq!(ahead(limited(1_000)), 64);
        assert_eq!(ahead(limited(200)), 50);
        assert_eq!(ahead(limited(1)), 1);
    }

    #[test]
    fn a_queue_does_not_feed_on_itself() {
        let mut concurrency = ConcurrencyEstimate::new(Duration::ZERO);
        concurrency.answered(Duration::from_millis(10));
        for _ in 0..50 {
            concurrency.answered(Duration::from_secs(2));
        }
        concurrency.per_s = 1_000.0;
        assert_eq!(concurrency.in_hand(&BOUNDS).under_way, FEW_UNDER_WAY);
    }
}
