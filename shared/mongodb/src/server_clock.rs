//! The server's time without asking for it each time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::MongoStore;
use evergrant_domain::Timestamp;
use evergrant_domain::clock_offset::ClockOffset;
use evergrant_ports::StoreError;

/// The server's clock as far as its earlier answers tell.
#[derive(Debug)]
pub(super) struct ServerClock {
    started: Instant,
    known: Mutex<Option<ClockEstimate>>,
}

#[derive(Debug, Clone, Copy)]
struct ClockEstimate {
    offset: ClockOffset,
    asked_at: Duration,
    /// How often the server was asked.
    answers: u32,
}

/// After so long the server is asked again.
const CLOCK_READ_INTERVAL: Duration = Duration::from_secs(5);
/// So often it is asked at first, one question after the other: on a new connection the server reads
/// its clock after the handshakes of TCP, TLS and SCRAM, so the first answer tells little.
const FIRST_ANSWERS: u32 = 3;

impl ServerClock {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), known: Mutex::new(None) }
    }

    /// The time and how wrong it may be to either side, when `local` has passed since the start. None
    /// if the server is to be asked.
    fn estimate(&self, local: Duration) -> Option<(Timestamp, Duration)> {
        let known = self.known()?;
        let enough = known.answers >= FIRST_ANSWERS && local < known.asked_at + CLOCK_READ_INTERVAL;
        let error = known.offset.uncertainty(local);
        enough.then(|| (known.offset.server(local).timestamp(), error))
    }

    fn learn(&self, time: Timestamp, sent: Duration, received: Duration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = ClockOffset::from_round_trip(time, sent, received);
        let mut offset = known.map_or(latest, |known| known.offset);
        offset.learn(latest);
        let answers = known.map_or(0, |known| known.answers).saturating_add(1);
        *known = Some(ClockEstimate { offset, asked_at: received, answers });
    }

    fn known(&self) -> Option<ClockEstimate> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another server may answer from now on.
    pub(super) fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl MongoStore {
    /// The server's clock now and how wrong that may be to either side. The server is asked only now
    /// and then.
    pub(super) async fn estimated_now(
        &self,
        operation: &'static str,
    ) -> Result<(Timestamp, Duration), StoreError> {
        loop {
            if let Some(estimate) = self.clock.estimate(self.clock.started.elapsed()) {
                return Ok(estimate);
            }
            let sent = self.clock.started.elapsed();
            let now = self.server_now(operation).await?;
            self.clock.learn(now, sent, self.clock.started.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const MS: Duration = Duration::from_millis(1);

    /// Asks at `sent`: the server reads its clock after `there`, and answers within `back`.
    fn ask(clock: &ServerClock, sent: Duration, there: Duration, back: Duration) {
        clock.learn(SERVER.plus(sent + there), sent, sent + there + back);
    }

    fn is_within_its_error(clock: &ServerClock, local: Duration) -> bool {
        let (estimate, error) = clock.estimate(local).unwrap();
        let (truth, error) = (SERVER.plus(local), error + MS);
        estimate.minus(error) <= truth && truth <= estimate.plus(error)
    }

    #[test]
    fn a_handshake_in_the_first_answer_does_not_shift_the_estimate() {
        let clock = ServerClock::new();
        ask(&clock, MS, MS * 300, MS);
        assert_eq!(clock.estimate(MS * 302), None, "one answer is not enough");
        ask(&clock, MS * 302, MS, MS);
        ask(&clock, MS * 304, MS, MS);
        assert!(is_within_its_error(&clock, MS * 306));
        assert!(clock.estimate(MS * 306).unwrap().1 <= MS * 2);
    }

    #[test]
    fn the_error_tells_of_slow_answers_and_of_the_time_since_the_last_one() {
        let clock = ServerClock::new();
        for sent in [MS, MS * 400, MS * 800] {
            ask(&clock, sent, MS * 290, MS * 10);
        }
        let soon = clock.estimate(MS * 1_100).unwrap().1;
        assert!((MS * 145..MS * 160).contains(&soon), "{soon:?}");
        assert!(is_within_its_error(&clock, MS * 1_100));
        let later = clock.estimate(MS * 5_100).unwrap().1;
        assert!(later >= soon + MS * 2, "{later:?}");
        assert_eq!(clock.estimate(MS * 6_200), None, "it is asked again");
    }
}
