//! Estimates a server's clock from its earlier answers.

use std::time::Duration;

use crate::{PreciseTimestamp, Timestamp};

/// The offset of a server's clock from the local clock, as two bounds.
///
/// Each answer with the server's time narrows the bounds: the server read its clock between the
/// request and the response. The fastest answers narrow them most, and several together are finer
/// than the millisecond to which each is rounded. Clock drift widens the bounds again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    least_us: i64,
    most_us: i64,
    /// The local time when they were last narrowed.
    at: Duration,
}

/// The assumed drift of two clocks, as a fraction. Far more than quartz drifts, so that a clock
/// under adjustment is followed.
const DRIFT_PER_S_US: u128 = 500;
/// The server rounds its time down to this.
const ROUNDED_US: i64 = 1_000;

impl ClockOffset {
    /// From one round trip: the server's time, and the local times of request and response. The
    /// local clock has any start and never goes back.
    pub fn from_round_trip(now: Timestamp, sent: Duration, received: Duration) -> Self {
        let now_us = PreciseTimestamp::from(now).unix_us();
        let (sent_us, received_us) = (micros(sent), micros(received));
        Self {
            least_us: now_us.saturating_sub(received_us),
            most_us: now_us.saturating_add(ROUNDED_US).saturating_sub(sent_us),
            at: received,
        }
    }

    /// From an estimate of the server's time at the local time `local`, wrong by at most `error` in
    /// either direction.
    pub fn estimated(now: Timestamp, error: Duration, local: Duration) -> Self {
        let exact = Self::from_round_trip(now, local, local);
        let error_us = micros(error);
        Self {
            least_us: exact.least_us.saturating_sub(error_us),
            most_us: exact.most_us.saturating_add(error_us),
            at: local,
        }
    }

    /// Takes another answer into account. If it contradicts the bounds, one of the clocks was set,
    /// and only the new answer counts.
    pub fn learn(&mut self, latest: Self) {
        let drift_us = self.drift_us(latest.at);
        let least_us = self.least_us.saturating_sub(drift_us).max(latest.least_us);
        let most_us = self.most_us.saturating_add(drift_us).min(latest.most_us);
        let agree = least_us <= most_us;
        *self = if agree { Self { least_us, most_us, at: latest.at } } else { latest };
    }

    /// The server's time at the local time `local`.
    pub fn server(&self, local: Duration) -> PreciseTimestamp {
        PreciseTimestamp::from_unix_us(micros(local).saturating_add(self.middle_us()))
    }

    /// The local time at the server's time `moment`; zero for one before the local clock began.
    pub fn local(&self, moment: PreciseTimestamp) -> Duration {
        let local_us = moment.unix_us().saturating_sub(self.middle_us());
        Duration::from_micros(u64::try_from(local_us).unwrap_or(0))
    }

    /// How wrong [`Self::server`] and [`Self::local`] may be in either direction at the local time
    /// `local`.
    pub fn uncertainty(&self, local: Duration) -> Duration {
        let either_us = self.most_us.saturating_sub(self.least_us) / 2;
        let either_us = either_us.saturating_add(self.drift_us(local));
        Duration::from_micros(u64::try_from(either_us).unwrap_or(0))
    }

    /// How far the clocks may have drifted apart since the bounds were narrowed.
    fn drift_us(&self, local: Duration) -> i64 {
        let drift = local.saturating_sub(self.at).as_millis() * DRIFT_PER_S_US / 1_000;
        i64::try_from(drift).unwrap_or(i64::MAX)
    }

    const fn middle_us(&self) -> i64 {
        self.least_us.saturating_add(self.most_us.saturating_sub(self.least_us) / 2)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AHEAD_US: i64 = 1_700_000_000_123_456;

    /// One round trip: sent at `sent_us`, `there_us` to the server, `back_us` for the response.
    fn ask(sent_us: u64, there_us: u64, back_us: u64) -> (Timestamp, Duration, Duration) {
        let read_us = i64::try_from(sent_us + there_us).unwrap() + AHEAD_US;
        let received = Duration::from_micros(sent_us + there_us + back_us);
        (
            PreciseTimestamp::from_unix_us(read_us).timestamp(),
            Duration::from_micros(sent_us),
            received,
        )
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let (now, sent, received) = ask(0, 500, 500);
        let mut offset = ClockOffset::from_round_trip(now, sent, received);
        let later = now.plus(Duration::from_secs(60));
        offset.learn(ClockOffset::from_round_trip(
            later,
            received,
            received + Duration::from_millis(1),
        ));
        let known = offset.server(received).timestamp();
        assert!(
            known.since(later) <= Duration::from_millis(2)
                && known >= later.minus(Duration::from_millis(2))
        );
    }

    #[test]
    fn an_estimates_uncertainty_grows_with_time() {
        let (at, error) = (Duration::from_secs(7), Duration::from_millis(150));
        let estimate = PreciseTimestamp::from_unix_us(AHEAD_US + micros(at)).timestamp();
        let mut offset = ClockOffset::estimated(estimate, error, at);
        assert_eq!(offset.uncertainty(at).as_millis(), 150);
        assert_eq!(offset.uncertainty(at + Duration::from_secs(10)).as_millis(), 155);
        // The true value is at the very edge: a better estimate agrees with it.
        let better = estimate.plus(Duration::from_millis(149));
        offset.learn(ClockOffset::estimated(better, Duration::from_millis(1), at));
        assert!(offset.uncertainty(at) <= Duration::from_millis(2));
        assert!(offset.server(at).timestamp() >= better.minus(Duration::from_millis(1)));
    }

    #[test]
    fn the_way_there_and_back_is_the_same() {
        let (now, sent, received) = ask(5_000, 700, 300);
        let offset = ClockOffset::from_round_trip(now, sent, received);
        let local = Duration::from_secs(9);
        assert_eq!(offset.local(offset.server(local)), local);
    }

    proptest! {
        #[test]
        fn fast_answers_narrow_the_bounds_below_a_millisecond(
            trips in prop::collection::vec((100_u64..400, 100_u64..400, 0_u64..3_000), 40),
            slow_us in 0_u64..300_000,
        ) {
            let (now, sent, received) = ask(0, slow_us, 100);
            let mut offset = ClockOffset::from_round_trip(now, sent, received);
            let mut sent_us = 1_000_000;
            for (there_us, back_us, wait_us) in trips {
                let (now, sent, received) = ask(sent_us, there_us, back_us);
                offset.learn(ClockOffset::from_round_trip(now, sent, received));
                sent_us += 1_000 + wait_us;
            }
            let local = Duration::from_micros(sent_us);
            let wrong_us = offset.server(local).unix_us() - micros(local) - AHEAD_US;
            prop_assert!(wrong_us.abs() <= 500, "{wrong_us} µs");
        }
    }
}
