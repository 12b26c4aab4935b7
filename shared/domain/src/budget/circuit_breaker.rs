//! The circuit breaker of a provider, with its pauses: a state machine without a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::settlement::{BudgetSignal, TripReason};

/// A provider's circuit breaker. Every request passes it; every answer is told to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    state: CircuitState,
    /// Trips in a row without a success between them.
    trips: u32,
    /// Probes that were refused since the last wait.
    #[serde(default)]
    refused_probes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CircuitState {
    Open,
    PausedUntil(Timestamp),
    /// Shut until then; after that one request at a time probes.
    Tripped {
        until: Timestamp,
        reason: TripReason,
    },
    /// A probe is under way and is given up at that time.
    Probing {
        until: Timestamp,
        reason: TripReason,
    },
    /// Shut until an operator or changed settings of our client open it.
    Stopped {
        reason: TripReason,
    },
}

/// What the circuit breaker says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitAdmission {
    /// Go.
    Go,
    /// Ask again at this time.
    WaitUntil(Timestamp),
    /// Only an operator can tell when.
    Shut,
}

/// The first wait after a trip; each further trip in a row doubles it. Short, since the grants that tripped
/// it may be those that happened to come first.
const FIRST_TRIP_DELAY: Duration = Duration::from_secs(2);
/// The longest wait after a trip.
const TRIP_DELAY_MAX: Duration = Duration::from_secs(300);
/// So many probes, one after the other, are refused before the next wait, after the first trip. Each is of
/// another grant, and one that is refused for its own sake must not keep the circuit open. Each further
/// trip in a row doubles them: however many grants are refused for their own sake, one that is not is
/// soon met.
const PROBES: u32 = 5;
/// The most probes between two waits.
const PROBES_MAX: u32 = 160;
/// A probe whose answer does not come within this time is followed by another.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { state: CircuitState::Open, trips: 0, refused_probes: 0 }
    }
}

impl CircuitBreaker {
    /// Asks to send a request now. [`CircuitAdmission::Go`] from a tripped gate makes the request the
    /// probe, so ask only for a request that will be sent.
    pub fn admit(&mut self, now: Timestamp) -> CircuitAdmission {
        match self.state {
            CircuitState::Open => CircuitAdmission::Go,
            CircuitState::PausedUntil(until) if now >= until => {
                self.state = CircuitState::Open;
                CircuitAdmission::Go
            }
            CircuitState::Tripped { until, reason } | CircuitState::Probing { until, reason }
                if now >= until =>
            {
                self.state = CircuitState::Probing { until: now.plus(PROBE_TIMEOUT), reason };
                CircuitAdmission::Go
            }
            CircuitState::PausedUntil(until)
            | CircuitState::Tripped { until, .. }
            | CircuitState::Probing { until, .. } => CircuitAdmission::WaitUntil(until),
            CircuitState::Stopped { .. } => CircuitAdmission::Shut,
        }
    }

    /// Takes note of an answer.
    pub fn note(&mut self, signal: &BudgetSignal, now: Timestamp) {
        match (signal, self.state) {
            // What was sent before the stop may still succeed, and proves nothing.
            (_, CircuitState::Stopped { .. }) => {}
            (BudgetSignal::Trip(reason @ TripReason::Unreadable), _) => {
                self.state = CircuitState::Stopped { reason: *reason };
            }
            (
                BudgetSignal::Healthy,
                CircuitState::Tripped { .. } | CircuitState::Probing { .. },
            ) => *self = Self::default(),
            (BudgetSignal::Healthy, _) => self.trips = 0,
            (BudgetSignal::Neutral, _) => {}
            (BudgetSignal::Pause(pause), CircuitState::Open | CircuitState::PausedUntil(_)) => {
                let until = now.plus(*pause);
                let longer =
                    matches!(self.state, CircuitState::PausedUntil(known) if known > until);
                if !longer {
                    self.state = CircuitState::PausedUntil(until);
                }
            }
            // Throttled while tripped: the client may still be rejected, so the trip stands.
            (
                BudgetSignal::Pause(_),
                CircuitState::Tripped { .. } | CircuitState::Probing { .. },
            ) => {}
            // Answers to requests sent before the trip don't lengthen it.
            (BudgetSignal::Trip(_), CircuitState::Tripped { .. }) => {}
            (BudgetSignal::Trip(reason), CircuitState::Probing { .. })
                if self.refused_probes + 1 < self.probes() =>
            {
                self.refused_probes += 1;
                self.state = CircuitState::Tripped { until: now, reason: *reason };
            }
            (BudgetSignal::Trip(reason), _) => {
                self.refused_probes = 0;
                let wait = FIRST_TRIP_DELAY.saturating_mul(2_u32.saturating_pow(self.trips));
                self.trips = self.trips.saturating_add(1);
                self.state = CircuitState::Tripped {
                    until: now.plus(wait.min(TRIP_DELAY_MAX)),
                    reason: *reason,
                };
            }
        }
    }

    /// The probes before the next wait.
    fn probes(&self) -> u32 {
        let doubled = 2_u32.saturating_pow(self.trips.saturating_sub(1));
        PROBES.saturating_mul(doubled).min(PROBES_MAX)
    }

    /// After a trip or a stop, the next request may go now, as the probe. Does nothing otherwise: a pause
    /// was asked for by the provider, and a probe that is under way is enough.
    pub fn probe_now(&mut self, now: Timestamp) {
        match self.state {
            CircuitState::Tripped { until, reason } => {
                self.state = CircuitState::Tripped { until: now.min(until), reason };
            }
            CircuitState::Stopped { reason } => {
                self.state = CircuitState::Tripped { until: now, reason }
            }
            CircuitState::Open | CircuitState::PausedUntil(_) | CircuitState::Probing { .. } => {}
        }
    }

    /// Nothing is sent until an operator or changed settings of our client open it.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.state, CircuitState::Stopped { .. })
    }

    /// Why the circuit breaker is shut by a trip, if it is.
    pub const fn tripped(&self) -> Option<TripReason> {
        match self.state {
            CircuitState::Tripped { reason, .. }
            | CircuitState::Probing { reason, .. }
            | CircuitState::Stopped { reason } => Some(reason),
            CircuitState::Open | CircuitState::PausedUntil(_) => None,
        }
    }

    /// When the circuit breaker may open, if it is shut now and a time is known. Does not change the circuit breaker.
    pub fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state {
            CircuitState::PausedUntil(until)
            | CircuitState::Tripped { until, .. }
            | CircuitState::Probing { until, .. }
                if now < until =>
            {
                Some(until)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const TRIP: BudgetSignal = BudgetSignal::Trip(TripReason::Misconfigured);

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_pause_ends_by_itself() {
        let mut gate = CircuitBreaker::default();
        gate.note(&BudgetSignal::Pause(Duration::from_secs(25)), NOW);
        assert_eq!(gate.admit(after(24)), CircuitAdmission::WaitUntil(after(25)));
        assert_eq!(gate.shut_until(after(24)), Some(after(25)));
        assert_eq!(gate.admit(after(25)), CircuitAdmission::Go);
        assert_eq!(gate.admit(after(25)), CircuitAdmission::Go);
    }

    #[test]
    fn a_shorter_pause_does_not_end_a_longer_one() {
        let mut gate = CircuitBreaker::default();
        gate.note(&BudgetSignal::Pause(Duration::from_secs(60)), NOW);
        gate.note(&BudgetSignal::Pause(Duration::from_secs(1)), NOW);
        assert_eq!(gate.admit(after(2)), CircuitAdmission::WaitUntil(after(60)));
    }

    #[test]
    fn after_a_trip_one_request_probes_and_its_success_opens() {
        let mut gate = CircuitBreaker::default();
        gate.note(&TRIP, NOW);
        assert_eq!(gate.tripped(), Some(TripReason::Misconfigured));
        assert_eq!(gate.admit(after(1)), CircuitAdmission::WaitUntil(after(2)));
        assert_eq!(gate.admit(after(2)), CircuitAdmission::Go);
        assert_eq!(gate.admit(after(2)), CircuitAdmission::WaitUntil(after(32)));
        gate.note(&BudgetSignal::Healthy, after(3));
        assert_eq!(gate.admit(after(3)), CircuitAdmission::Go);
        assert_eq!(gate.tripped(), None);
    }

    #[test]
    fn an_operator_may_have_it_probed_before_its_time() {
        let mut gate = CircuitBreaker::default();
        gate.probe_now(NOW);
        assert_eq!(gate, CircuitBreaker::default());
        gate.note(&TRIP, NOW);
        gate.probe_now(after(1));
        assert_eq!(gate.admit(after(1)), CircuitAdmission::Go);
        gate.probe_now(after(2));
        assert!(
            matches!(gate.admit(after(2)), CircuitAdmission::WaitUntil(_)),
            "one probe is enough"
        );
        let mut paused = CircuitBreaker::default();
        paused.note(&BudgetSignal::Pause(Duration::from_secs(60)), NOW);
        paused.probe_now(after(1));
        assert_eq!(paused.admit(after(2)), CircuitAdmission::WaitUntil(after(60)));
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_a_bound() {
        let mut gate = CircuitBreaker::default();
        let mut now = NOW;
        gate.note(&TRIP, now);
        for (wait_s, probes) in
            [(2, 5), (4, 10), (8, 20), (16, 40), (32, 80), (64, 160), (128, 160)]
        {
            let until = now.plus(Duration::from_secs(wait_s));
            assert_eq!(gate.admit(now), CircuitAdmission::WaitUntil(until));
            now = until;
            for _ in 0..probes {
                assert_eq!(gate.admit(now), CircuitAdmission::Go);
                gate.note(&TRIP, now);
            }
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_stops_the_provider_until_somebody_opens_it() {
        let mut gate = CircuitBreaker::default();
        gate.note(&BudgetSignal::Trip(TripReason::Unreadable), NOW);
        gate.note(&BudgetSignal::Healthy, after(1));
        gate.note(&TRIP, after(1));
        assert_eq!(gate.admit(after(1_000_000)), CircuitAdmission::Shut);
        assert_eq!(gate.tripped(), Some(TripReason::Unreadable));
        gate.probe_now(after(1_000_000));
        assert_eq!(gate.admit(after(1_000_000)), CircuitAdmission::Go);
        gate.note(&BudgetSignal::Healthy, after(1_000_001));
        assert_eq!(gate, CircuitBreaker::default());
    }

    #[test]
    fn a_burst_of_rejections_is_one_trip() {
        let mut gate = CircuitBreaker::default();
        for _ in 0..64 {
            gate.note(&TRIP, NOW);
        }
        assert_eq!(gate.admit(NOW), CircuitAdmission::WaitUntil(after(2)));
    }

    #[test]
    fn a_probe_that_never_answers_is_followed_by_another() {
        let mut gate = CircuitBreaker::default();
        gate.note(&TRIP, NOW);
        assert_eq!(gate.admit(after(2)), CircuitAdmission::Go);
        assert_eq!(gate.admit(after(32)), CircuitAdmission::Go);
    }

    #[test]
    fn a_late_success_from_before_the_trip_opens_the_gate() {
        let mut gate = CircuitBreaker::default();
        gate.note(&TRIP, NOW);
        gate.note(&BudgetSignal::Healthy, after(1));
        assert_eq!(gate.admit(after(1)), CircuitAdmission::Go);
    }
}
