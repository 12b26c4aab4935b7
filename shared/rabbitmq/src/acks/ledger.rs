//! Tracks which deliveries of a channel are settled, and which acknowledgements can share one
//! frame.
//!
//! The broker numbers the deliveries of a channel from 1 on. `multiple` acknowledges all up to a
//! number, so it is right only if each of them is settled, including those that are not handed out
//! yet.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long an acknowledgement waits for those before it. The wait occupies room in the prefetch.
const ACK_HOLD_MAX: Duration = Duration::from_millis(20);

/// The deliveries of one channel. `T` identifies an acknowledgement.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    /// Settled numbers as ranges, first to last. The first range begins at 0, which is not a
    /// delivery.
    settled: BTreeMap<u64, u64>,
    /// Settled deliveries that are not acknowledged yet.
    held: BTreeMap<u64, PendingAck<T>>,
}

#[derive(Debug)]
struct PendingAck<T> {
    until: Instant,
    what: T,
}

/// Acknowledgements in one frame, that of the last one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AckFrame<T>(pub(super) Vec<T>);

impl<T> AckFrame<T> {
    /// Whether the frame covers more than one.
    pub(super) const fn is_multiple(&self) -> bool {
        self.0.len() > 1
    }
}

impl<T> Ledger<T> {
    pub(super) fn new() -> Self {
        Self { settled: BTreeMap::from([(0, 0)]), held: BTreeMap::new() }
    }

    /// Notes that a delivery is settled.
    pub(super) fn settle(&mut self, number: u64, what: T, now: Instant) {
        self.held.insert(number, PendingAck { until: now + ACK_HOLD_MAX, what });
        let before = self.settled.range(..number).next_back().map(|(first, last)| (*first, *last));
        let first =
            before.filter(|(_, last)| last + 1 == number).map_or(number, |(first, _)| first);
        let last = self.settled.remove(&(number + 1)).unwrap_or(number);
        self.settled.insert(first, last);
    }

    /// The frames to send now: one for all before which nothing is open, and one for each that has
    /// waited long enough.
    pub(super) fn ripe(&mut self, now: Instant) -> Vec<AckFrame<T>> {
        let none_open_up_to = self.settled.first_key_value().map_or(0, |(_, last)| *last);
        let waiting = self.held.split_off(&(none_open_up_to + 1));
        let together = std::mem::replace(&mut self.held, waiting).into_values();
        let together = AckFrame(together.map(|held| held.what).collect());
        let overdue = self.held.extract_if(.., |_, held| held.until <= now);
        let alone: Vec<_> = overdue.map(|(_, held)| AckFrame(vec![held.what])).collect();
        std::iter::once(together).filter(|told| !told.0.is_empty()).chain(alone).collect()
    }

    /// When the next one has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// All that still wait.
    pub(super) fn rest(&mut self) -> Vec<AckFrame<T>> {
        let mut rest = self.ripe(Instant::now());
        rest.extend(
            std::mem::take(&mut self.held).into_values().map(|held| AckFrame(vec![held.what])),
        );
        rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settle(ledger: &mut Ledger<u64>, numbers: impl IntoIterator<Item = u64>, now: Instant) {
        numbers.into_iter().for_each(|number| ledger.settle(number, number, now));
    }

    #[test]
    fn settled_deliveries_without_a_gap_share_one_frame() {
        let (mut ledger, now) = (Ledger::new(), Instant::now());
        settle(&mut ledger, [3, 1, 2, 6, 5], now);
        assert_eq!(ledger.ripe(now), [AckFrame(vec![1, 2, 3])]);
        settle(&mut ledger, [4], now);
        assert_eq!(ledger.ripe(now), [AckFrame(vec![4, 5, 6])]);
        assert_eq!(ledger.due(), None);
    }

    #[test]
    fn an_open_delivery_delays_others_only_briefly() {
        let (mut ledger, now) = (Ledger::new(), Instant::now());
        settle(&mut ledger, [2, 3], now);
        assert_eq!(ledger.ripe(now), []);
        assert_eq!(ledger.due(), Some(now + ACK_HOLD_MAX));
        assert_eq!(ledger.ripe(now + ACK_HOLD_MAX), [AckFrame(vec![2]), AckFrame(vec![3])]);
        settle(&mut ledger, [1, 4], now + ACK_HOLD_MAX);
        assert_eq!(ledger.ripe(now + ACK_HOLD_MAX), [AckFrame(vec![1, 4])]);
    }

    #[test]
    fn the_ledger_does_not_grow_with_acknowledgements() {
        let (mut ledger, now) = (Ledger::new(), Instant::now());
        for number in 2..10_000 {
            settle(&mut ledger, [number], now);
            ledger.ripe(now + ACK_HOLD_MAX);
        }
        assert_eq!(ledger.settled.len(), 2);
        assert_eq!(ledger.rest(), []);
    }

    proptest! {
        #[test]
        fn every_settled_delivery_is_acknowledged_exactly_once(
            order in Just((1..=40_u64).collect::<Vec<_>>()).prop_shuffle(),
            waits_ms in prop::collection::vec(0..15_u64, 40),
        ) {
            let (mut ledger, mut now) = (Ledger::new(), Instant::now());
            let mut open: std::collections::BTreeSet<u64> = (1..=40).collect();
            let mut told = Vec::new();
            let mut outstanding = open.clone();
            for (number, wait_ms) in order.into_iter().zip(waits_ms) {
                now += Duration::from_millis(wait_ms);
                ledger.settle(number, number, now);
                open.remove(&number);
                for batch in ledger.ripe(now) {
                    let last = batch.0[batch.0.len() - 1];
                    // The effect at the broker.
                    prop_assert!(outstanding.contains(&last));
                    if batch.is_multiple() {
                        prop_assert!(open.range(..=last).next().is_none());
                        outstanding.retain(|number| *number > last);
                    }
                    outstanding.remove(&last);
                    told.extend(batch.0);
                }
            }
            told.extend(ledger.rest().into_iter().flat_map(|told| told.0));
            told.sort_unstable();
            prop_assert_eq!(told, (1..=40).collect::<Vec<_>>());
        }
    }
}
