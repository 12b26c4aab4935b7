//! Measures how late requests arrive at the provider, as far as the durations of their answers show
//! it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::rate_schedule::TOLERATED_DELAY;

/// Tracks the durations of answers, counted from the slots of their requests.
///
/// The fastest recent answer shows the round trip of a request that is not late. If an answer takes
/// longer than that by more than the tolerance, its request may have arrived late. It then owes the
/// excess, at most one slot. A steady latency therefore costs nothing, however long it is. Where
/// durations vary widely, [`Self::lateness`] raises the tolerance, and only the slowest requests
/// pay. An excess beyond what a slot's own spacing allows is always paid.
///
/// A debt protects the windows that begin before it is paid. So it is paid when the request has
/// surely arrived, and repeatedly until then.
#[derive(Debug, Default)]
pub struct LatenessTracker {
    /// Requests without an answer so far.
    awaited: BTreeMap<u64, AwaitedRequest>,
    /// The latest answered requests, oldest first, and how long each answer took.
    answered: VecDeque<(AwaitedRequest, Duration)>,
    next_id: u64,
    /// The shortest duration in [`Self::answered`].
    quickest: Option<Duration>,
    debt: Duration,
}

/// A request and its slot.
#[derive(Debug, Clone, Copy)]
struct AwaitedRequest {
    slot: Duration,
    spacing: Duration,
    tolerance: Duration,
    /// How much it has paid.
    paid: Duration,
}

/// How many answers are kept. Fewer would not show what is usual.
const MEMORY: usize = 128;
/// This many of them may be late by chance.
const BY_CHANCE: usize = 3;
/// How long after its slot a request is judged again: a faster answer may show that it was late.
/// The first requests of a process also connect first.
const JUDGEMENT_TTL: Duration = Duration::from_millis(500);
/// How often the request of an overdue answer pays. Windows are a second or longer; in shorter ones
/// the tolerance is large enough.
const PAY_INTERVAL: Duration = Duration::from_millis(500);

impl LatenessTracker {
    /// Notes that a request is about to be sent for `slot`, by the local clock. Returns the number
    /// for [`Self::answered`].
    pub fn sent(&mut self, slot: Duration, spacing: Duration, tolerance: Duration) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.awaited.insert(id, AwaitedRequest { slot, spacing, tolerance, paid: Duration::ZERO });
        id
    }

    /// Notes that the answer came, or that its time is over.
    pub fn answered(&mut self, id: u64, now: Duration) {
        let Some(mut sent) = self.awaited.remove(&id) else { return };
        let took = now.saturating_sub(sent.slot);
        self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
        self.debt += sent.pay(sent.price_of(self.too_late(&sent, took), true));
        if self.answered.len() == MEMORY {
            self.answered.pop_front();
        }
        self.answered.push_back((sent, took));
    }

    /// Notes that the request was not sent after all.
    pub fn forget(&mut self, id: u64) {
        self.awaited.remove(&id);
    }

    /// How many requests are under way.
    pub fn under_way(&self) -> usize {
        self.awaited.len()
    }

    /// Whether a late answer is not paid for yet.
    pub const fn owes(&self) -> bool {
        !self.debt.is_zero()
    }

    /// The debt to be paid now. What is not paid after all is returned by [`Self::owe`].
    pub fn settle(&mut self, now: Duration) -> Duration {
        let mut awaited = std::mem::take(&mut self.awaited);
        for sent in awaited.values_mut() {
            let too_late = self.too_late(sent, now.saturating_sub(sent.slot));
            self.debt += sent.pay(sent.price_of(too_late, false));
        }
        self.awaited = awaited;
        let mut answered = std::mem::take(&mut self.answered);
        let lately = answered.iter_mut().rev();
        for (sent, took) in lately.take_while(|(sent, _)| sent.slot + JUDGEMENT_TTL > now) {
            self.debt += sent.pay(sent.price_of(self.too_late(sent, *took), true));
        }
        self.answered = answered;
        std::mem::take(&mut self.debt)
    }

    /// Returns a debt that could not be paid.
    pub fn owe(&mut self, debt: Duration) {
        self.debt += debt;
    }

    /// How late requests usually are: what should be tolerated. Zero if that is not known.
    ///
    /// Tolerance costs its share of each `window`; an excess costs up to a slot for each request.
    /// The result is where both together cost least.
    pub fn lateness(&mut self, window: Duration) -> Duration {
        if self.answered.len() < MEMORY {
            return Duration::ZERO;
        }
        let mut took: Vec<Duration> = self.answered.iter().map(|(_, took)| *took).collect();
        took.sort_unstable();
        let (quickest, count) = (took[0], took.len());
        let cost = |(index, took): &(usize, &Duration)| {
            let tolerated = (**took - quickest).max(TOLERATED_DELAY).as_nanos() * count as u128;
            let pay = (count - 1 - index).saturating_sub(BY_CHANCE);
            tolerated + window.as_nanos() * pay as u128
        };
        let cheapest = took.iter().enumerate().min_by_key(cost);
        self.quickest = Some(quickest);
        cheapest.map_or(Duration::ZERO, |(_, took)| *took - quickest)
    }

    /// How much later than tolerated a request was, if its answer took this long.
    fn too_late(&self, sent: &AwaitedRequest, took: Duration) -> Duration {
        let late = self.quickest.map_or(Duration::ZERO, |quickest| took.saturating_sub(quickest));
        late.saturating_sub(sent.tolerance)
    }
}

impl AwaitedRequest {
    /// The price of an excess: the excess itself, at most one slot, at each payment. Until the
    /// request has surely arrived, it pays whole slots.
    fn price_of(&self, too_late: Duration, arrived: bool) -> Duration {
        let most = self.spacing.min(PAY_INTERVAL);
        let times = too_late.as_millis() / PAY_INTERVAL.as_millis();
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        let rest = match arrived {
            true => too_late.saturating_sub(PAY_INTERVAL.saturating_mul(times)),
            false => Duration::ZERO,
        };
        most.saturating_mul(times).saturating_add(most.min(rest))
    }

    /// The unpaid part of a price. It counts as paid then.
    fn pay(&mut self, price: Duration) -> Duration {
        let owed = price.saturating_sub(self.paid);
        self.paid += owed;
        owed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Duration = Duration::from_millis(5);
    const WINDOW: Duration = Duration::from_secs(1);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The total debt of requests at one spacing from `from_ms` on, each answered after the given
    /// time.
    fn owed(watch: &mut LatenessTracker, from_ms: u64, took_ms: &[u64]) -> Duration {
        let mut debt = Duration::ZERO;
        for (took_ms, index) in took_ms.iter().zip(0_u64..) {
            let slot = ms(from_ms + index * 5);
            let tolerance = watch.lateness(WINDOW).max(TOLERATED_DELAY);
            let id = watch.sent(slot, SPACING, tolerance);
            watch.answered(id, slot + ms(*took_ms));
            debt += watch.settle(slot + ms(*took_ms));
        }
        debt
    }

    #[test]
    fn a_steady_latency_costs_nothing_however_long_it_is() {
        let mut watch = LatenessTracker::default();
        assert_eq!(owed(&mut watch, 0, &[2_000, 2_008, 2_010, 2_001]), Duration::ZERO);
        assert_eq!(watch.under_way(), 0);
    }

    #[test]
    fn a_late_answer_costs_its_excess_at_most_one_slot() {
        let mut watch = LatenessTracker::default();
        owed(&mut watch, 0, &[100; 40]);
        assert_eq!(owed(&mut watch, 1_000, &[117]), ms(2));
        assert_eq!(owed(&mut watch, 2_000, &[600]), SPACING);
    }

    #[test]
    fn a_long_overdue_answer_pays_repeatedly() {
        let mut watch = LatenessTracker::default();
        owed(&mut watch, 0, &[100; 40]);
        let id = watch.sent(ms(1_000), SPACING, TOLERATED_DELAY);
        assert_eq!(watch.settle(ms(1_614)), Duration::ZERO);
        assert_eq!(watch.settle(ms(1_615)), SPACING);
        assert_eq!(watch.settle(ms(2_114)), Duration::ZERO);
        assert_eq!(watch.settle(ms(2_115)), SPACING);
        watch.answered(id, ms(2_118));
        assert!(watch.owes());
        assert_eq!(watch.settle(ms(2_118)), ms(3));
    }

    #[test]
    fn with_rare_slots_only_the_delay_is_paid() {
        let mut watch = LatenessTracker::default();
        owed(&mut watch, 0, &[100; 40]);
        let id = watch.sent(ms(1_000), Duration::from_secs(3_600), TOLERATED_DELAY);
        watch.answered(id, ms(2_815));
        assert_eq!(watch.settle(ms(2_815)), ms(1_700));
    }

    #[test]
    fn the_first_requests_pay_once_a_faster_answer_comes() {
        let mut watch = LatenessTracker::default();
        assert_eq!(owed(&mut watch, 0, &[80, 80]), Duration::ZERO);
        assert_eq!(owed(&mut watch, 100, &[10]), SPACING * 2);
        assert_eq!(owed(&mut watch, 105, &[10]), Duration::ZERO);
    }

    #[test]
    fn varying_answers_raise_the_tolerance() {
        let mut watch = LatenessTracker::default();
        let took: Vec<u64> = (0..1_000).map(|index| 100 + index * 37 % 200).collect();
        let debt = owed(&mut watch, 0, &took);
        assert!(debt <= SPACING * 150, "{debt:?}");
        assert!(watch.lateness(WINDOW) >= ms(190));
    }

    #[test]
    fn lateness_beyond_the_spacing_is_always_paid() {
        let mut watch = LatenessTracker::default();
        let took: Vec<u64> = (0..128).map(|index| 100 + index % 2 * 60).collect();
        owed(&mut watch, 0, &took);
        assert_eq!(watch.lateness(WINDOW), ms(60));
        let reserved_before = watch.sent(ms(2_000), SPACING, TOLERATED_DELAY);
        watch.answered(reserved_before, ms(2_160));
        assert_eq!(watch.settle(ms(2_160)), SPACING);
    }

    #[test]
    fn a_few_late_answers_raise_the_tolerance_only_for_free() {
        let mut watch = LatenessTracker::default();
        let took: Vec<u64> =
            (0..128).map(|index| if index % 20 == 0 { 300 } else { 100 }).collect();
        owed(&mut watch, 0, &took);
        assert!(watch.lateness(WINDOW) < TOLERATED_DELAY);
        assert_eq!(watch.lateness(Duration::from_secs(60)), ms(200));
    }
}
