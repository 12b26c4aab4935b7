//! How much a worker has in hand: what follows from its rate and the provider's latency, so that
//! nobody has to set it.

use std::collections::VecDeque;
use std::time::Duration;

/// Watches a worker's rate and the provider's latency.
///
/// By Little's law `rate × latency` requests are under way on average. Twice that are allowed, so
/// that the rate can grow where there is room, and the latency is the quickest one of late, so that
/// a queue which forms at the provider, or before anything else of ours, does not feed on itself.
#[derive(Debug)]
pub struct ConcurrencyEstimate {
    /// Requests since [`Self::counted_from`].
    sent: u32,
    counted_from: Duration,
    per_s: f64,
    latencies: VecDeque<Duration>,
}

/// How much a worker has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConcurrencyTarget {
    /// Requests that are under way or wait for their place.
    pub under_way: u16,
    /// Documents that are claimed and not yet sent.
    pub ahead: u16,
}

impl ConcurrencyTarget {
    /// Before anything is known. The others may have as many claims, and all of them wait for the
    /// same limit.
    pub fn at_first(bounds: &ConcurrencyBounds) -> Self {
        let as_many = bounds.under_way;
        let ahead = bounds.spacing.map_or(as_many, |spacing| whole_of(FIRST_CLAIM_DELAY, spacing));
        Self {
            under_way: FEW_UNDER_WAY.min(bounds.under_way),
            ahead: ahead.min(bounds.ahead).max(1),
        }
    }
}

/// What bounds it.
#[derive(Debug, Clone, Copy)]
pub struct ConcurrencyBounds {
    /// Requests under way at most.
    pub under_way: u16,
    /// Documents claimed and not yet sent at most.
    pub ahead: u16,
    /// The time between two requests of all workers, if there is a limit.
    pub spacing: Option<Duration>,
}

/// The rate is counted for so long, and then half of it is what was known before.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);
/// Latencies that are remembered.
const MEMORY: usize = 64;
/// Where there is little to do there is room to begin with, and to write in large groups.
const FEW_UNDER_WAY: u16 = 128;
const FEW_AHEAD: u16 = 2;
/// Claims ahead at first, as the time in which the limit lets them through.
const FIRST_CLAIM_DELAY: Duration = Duration::from_millis(250);
/// Places are reserved so far ahead, so that requests wait as long for theirs.
const SLOT_DELAY_S: f64 = 0.4;

impl ConcurrencyEstimate {
    /// A worker that has sent nothing.
    pub fn new(now: Duration) -> Self {
        Self { sent: 0, counted_from: now, per_s: 0.0, latencies: VecDeque::new() }
    }

    /// A request is sent. Says what to have in hand from now on, now and then.
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

    /// Its answer came after this time.
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
        // What waits here is hidden from other workers, and given back when its time is over: no
        // more than goes out within a second or two.
        let soon = whole(self.per_s * 1.5).max(FEW_AHEAD);
        let a_second = |spacing| whole_of(Duration::from_secs(1), spacing).max(1);
        let ahead = bounds.spacing.map_or(soon, |spacing| soon.min(a_second(spacing)));
        ConcurrencyTarget { under_way, ahead: ahead.min(bounds.ahead).max(1) }
    }
}

/// How often the one goes into the other.
fn whole_of(time: Duration, spacing: Duration) -> u16 {
    let times = time.as_nanos() / spacing.as_nanos().max(1);
    u16::try_from(times).unwrap_or(u16::MAX)
}

/// Rounded up and within bounds.
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

    /// After two seconds at this rate and latency.
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
    fn what_is_under_way_follows_rate_and_latency_within_a_bound() {
        let ms = Duration::from_millis;
        assert_eq!(in_hand(1_000, ms(100), BOUNDS).under_way, 200);
        assert_eq!(in_hand(1_000, ms(1), BOUNDS).under_way, FEW_UNDER_WAY);
        assert_eq!(in_hand(1_000, ms(900), BOUNDS).under_way, 512);
        assert_eq!(in_hand(200, ms(600), limited(200)).under_way, 400);
    }

    #[test]
    fn what_is_claimed_ahead_is_what_a_worker_sends_in_a_second_or_two() {
        let ms = Duration::from_millis;
        assert_eq!(in_hand(1_000, ms(1), BOUNDS).ahead, 64);
        assert_eq!(in_hand(12, ms(1), limited(200)).ahead, 18);
        assert_eq!(in_hand(200, ms(1), limited(200)).ahead, 64);
        assert_eq!(in_hand(10, ms(1), limited(10)).ahead, 10);
        assert_eq!(in_hand(2, ms(1), limited(1)).ahead, 1);
    }

    #[test]
    fn a_worker_that_knows_nothing_yet_claims_what_the_limit_takes_soon() {
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
