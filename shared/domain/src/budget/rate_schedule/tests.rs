use proptest::prelude::*;

use super::*;

const NOW: PreciseTimestamp = PreciseTimestamp::from_unix_us(1_700_000_000_000_000);
const RESERVATION_LATENCY: Duration = Duration::from_millis(5);

fn limits(limits: &[&str]) -> Vec<RateLimit> {
    limits.iter().map(|limit| limit.parse().unwrap()).collect()
}

fn ask(now: PreciseTimestamp, wanted: u32) -> SlotRequest {
    let (debt, lateness, unsure) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    SlotRequest { now, lead: RESERVATION_LATENCY, wanted, debt, lateness, unsure }
}

fn later(ms: u64) -> PreciseTimestamp {
    NOW.plus(Duration::from_millis(ms))
}

#[test]
fn an_idle_schedule_gives_the_next_slots_without_a_burst() {
    let mut cell = RateSchedule::default();
    let slice = cell.reserve(&limits(&["200/s"]), &ask(NOW, 3)).unwrap();
    assert_eq!((slice.first, slice.count), (later(5), 3));
    assert_eq!(slice.spacing, Duration::from_micros(5_075));
    let next = cell.reserve(&limits(&["200/s"]), &ask(NOW, 3)).unwrap();
    assert_eq!(next.first, slice.first.plus(slice.spacing * 3));
}

#[test]
fn a_slice_is_short_and_ends_within_the_horizon() {
    let (mut cell, limits) = (RateSchedule::default(), limits(&["200/s"]));
    let first = cell.reserve(&limits, &ask(NOW, 1_000)).unwrap();
    assert_eq!(first.count, 50);
    let second = cell.reserve(&limits, &ask(NOW, 1_000)).unwrap();
    assert!(second.slots().last().unwrap() < later(400));
    assert_eq!(cell.reserve(&limits, &ask(NOW, 1)), None);
    assert!(cell.reserve(&limits, &ask(later(10), 1)).is_some());
}

#[test]
fn a_limit_of_few_requests_gives_one_at_a_time() {
    for (limit, wait_s) in [("1/s", 1), ("10/min", 6), ("1/h", 3_600)] {
        let (mut cell, limits) = (RateSchedule::default(), limits(&[limit]));
        let first = cell.reserve(&limits, &ask(NOW, 9)).unwrap();
        assert_eq!(first.count, 1, "{limit}");
        let too_soon = later(wait_s * 1_000 - 500);
        assert_eq!(cell.reserve(&limits, &ask(too_soon, 9)), None, "{limit}");
        assert!(
            cell.full_for(&limits, NOW, RESERVATION_LATENCY)
                > Duration::from_millis(wait_s * 1_000 - 500)
        );
        let due = later(wait_s * 1_000);
        let second = cell.reserve(&limits, &ask(due, 9)).unwrap();
        let apart = second.first.since(first.first);
        let window = limits[0].per() / limits[0].requests();
        assert!(apart >= window && apart <= window + TOLERATED_DELAY, "{limit}: {apart:?}");
    }
}

#[test]
fn of_several_limits_the_strictest_one_binds() {
    let mut cell = RateSchedule::default();
    let slice = cell.reserve(&limits(&["10/s", "300/min"]), &ask(NOW, 9)).unwrap();
    assert!(slice.spacing > Duration::from_millis(200));
}

#[test]
fn a_debt_moves_the_next_slots_once() {
    let (mut cell, limits) = (RateSchedule::default(), limits(&["200/s"]));
    let paid = SlotRequest { debt: Duration::from_millis(20), ..ask(NOW, 1) };
    assert_eq!(cell.reserve(&limits, &paid).unwrap().first, later(20));
    let next = cell.reserve(&limits, &ask(NOW, 1)).unwrap();
    assert_eq!(next.first, later(20).plus(next.spacing));
    // Also without a request for slots.
    let before = cell;
    assert_eq!(cell.reserve(&limits, &SlotRequest { wanted: 0, ..paid }), None);
    assert_ne!(cell, before);
}

#[test]
fn a_schedule_too_far_ahead_does_not_block_the_provider() {
    let mut cell = RateSchedule::default();
    cell.reserve(&limits(&["1/h"]), &ask(NOW, 1)).unwrap();
    assert!(
        cell.full_for(&limits(&["1/h"]), NOW, RESERVATION_LATENCY) > Duration::from_secs(3_500)
    );
    assert_eq!(cell.full_for(&limits(&["100/s"]), NOW, RESERVATION_LATENCY), Duration::ZERO);
    let slice = cell.reserve(&limits(&["100/s"]), &ask(later(1_000), 1)).unwrap();
    assert!(slice.first.since(later(1_000)) < Duration::from_millis(50));
}

#[test]
fn frequent_lateness_widens_the_spacing_and_decays_slowly() {
    let (mut cell, limits) = (RateSchedule::default(), limits(&["10/s"]));
    let late = SlotRequest { lateness: Duration::from_millis(54), ..ask(NOW, 1) };
    let slice = cell.reserve(&limits, &late).unwrap();
    assert_eq!(slice.spacing, Duration::from_millis(106));
    assert_eq!(slice.tolerance, Duration::from_millis(54));
    let soon = cell.reserve(&limits, &ask(later(900), 1)).unwrap();
    assert_eq!(soon.spacing, slice.spacing);
    let much_later = cell.reserve(&limits, &ask(later(60_000), 1)).unwrap();
    assert_eq!(much_later.tolerance, TOLERATED_DELAY);
    // But at most a quarter of the window.
    let later_still = SlotRequest { lateness: Duration::from_secs(9), ..ask(later(70_000), 1) };
    assert_eq!(cell.reserve(&limits, &later_still).unwrap().spacing, Duration::from_millis(125));
}

/// Simulates replicas that reserve in turn, each with its own demand, and whose requests are each
/// late differently. A request that is too late is paid for at the first reservation after its
/// arrival, as the worker does.
fn arrivals(limit: RateLimit, turns: &[(u64, u32, u8)]) -> Vec<PreciseTimestamp> {
    let (mut cell, mut now) = (RateSchedule::default(), NOW);
    let (mut arrivals, mut unpaid) = (Vec::new(), Vec::new());
    for &(wait_ms, wanted, luck) in turns {
        now = now.plus(Duration::from_millis(wait_ms));
        let due = |unpaid: &(PreciseTimestamp, Duration)| unpaid.0 <= now;
        let debt = unpaid.iter().copied().filter(due).map(|(_, price)| price).sum();
        unpaid.retain(|unpaid| !due(unpaid));
        let Some(slice) = cell.reserve(&[limit], &SlotRequest { debt, ..ask(now, wanted) }) else {
            continue;
        };
        for (slot, index) in slice.slots().zip(0_u8..) {
            let late_us = u64::from(luck.wrapping_mul(index.wrapping_add(31)));
            // One in twenty is very late; the others use all of the tolerance.
            let late = match late_us % 20 {
                0 => Duration::from_millis(15 + late_us),
                _ => Duration::from_micros(late_us * 39),
            };
            let arrival = slot.plus(late);
            unpaid.push((arrival, late.saturating_sub(slice.tolerance).min(slice.spacing)));
            arrivals.push(arrival);
        }
    }
    arrivals.sort();
    arrivals
}

proptest! {
    #[test]
    fn no_window_of_arrivals_exceeds_the_limit(
        requests in 1_u32..400, per_ms in 1_000_u64..20_000,
        turns in prop::collection::vec((0_u64..250, 0_u32..40, any::<u8>()), 1..200),
    ) {
        let limit: RateLimit = format!("{requests}/{per_ms}ms").parse().unwrap();
        let arrivals = arrivals(limit, &turns);
        for window in arrivals.windows(requests as usize + 1) {
            let apart = window[window.len() - 1].since(window[0]);
            prop_assert!(apart >= limit.per(), "{} requests in {apart:?}", window.len());
        }
    }

    #[test]
    fn replicas_with_enough_demand_use_every_slot(
        turns in prop::collection::vec((1_u64..150, 60_u32..100), 10..100),
    ) {
        let (mut cell, limits) = (RateSchedule::default(), limits(&["200/s"]));
        let (mut now, mut next) = (NOW, None);
        for (wait_ms, wanted) in turns {
            now = now.plus(Duration::from_millis(wait_ms));
            let Some(slice) = cell.reserve(&limits, &ask(now, wanted)) else { continue };
            prop_assert!(next.is_none_or(|next| next == slice.first), "a gap");
            next = Some(slice.first.plus(slice.spacing * slice.count));
        }
    }
}

#[test]
fn a_replica_with_an_inexact_clock_sends_late_and_pays() {
    let limits = limits(&["10/s"]);
    let mut cell = RateSchedule::default();
    let unsure = SlotRequest { unsure: Duration::from_millis(300), ..ask(NOW, 2) };
    let slice = cell.reserve(&limits, &unsure).unwrap();
    assert_eq!((slice.count, slice.shift), (2, Duration::from_millis(300)));
    // Not before the latest possible time.
    assert_eq!(slice.first, later(305));
    // What follows comes after it, however late that is.
    let sure = cell.reserve(&limits, &ask(later(800), 1)).unwrap();
    assert_eq!(sure.first.since(slice.first), slice.spacing * 2 + Duration::from_millis(600));
    assert_eq!(sure.shift, Duration::ZERO);
}

#[test]
fn a_replica_with_slow_reservations_reserves_further_ahead() {
    let limits = limits(&["10/s"]);
    let mut cell = RateSchedule::default();
    let slow = SlotRequest { lead: Duration::from_millis(900), ..ask(NOW, 100) };
    let slice = cell.reserve(&limits, &slow).unwrap();
    assert_eq!(slice.first, later(900));
    assert_eq!(slice.spacing, Duration::from_millis(125), "four fifths of the limit");
    assert_eq!(slice.count, 12, "as many as fit into one and a half seconds");
    // When it asks again, there is room.
    assert_eq!(cell.full_for(&limits, later(600), slow.lead), Duration::ZERO);
    let next = cell.reserve(&limits, &SlotRequest { now: later(600), ..slow }).unwrap();
    assert_eq!(next.first, slice.first.plus(slice.spacing * 12));
}

#[test]
fn no_debt_moves_the_schedule_beyond_its_bound() {
    let (mut cell, limits) = (RateSchedule::default(), limits(&["10/s"]));
    let slow = SlotRequest { lead: Duration::from_secs(9), ..ask(NOW, 100) };
    let first = cell.reserve(&limits, &slow).unwrap();
    let debt = Duration::from_secs(9);
    assert_eq!(cell.reserve(&limits, &SlotRequest { debt, wanted: 0, ..slow }), None);
    let next = cell.reserve(&limits, &SlotRequest { now: later(3_000), ..slow }).unwrap();
    assert!(next.first > first.slots().last().unwrap(), "no place is given twice");
}
