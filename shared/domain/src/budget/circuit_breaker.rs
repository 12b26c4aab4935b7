//! The circuit breaker of a provider, with its pauses: a state machine without a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::settlement::{BudgetSignal, TripReason};

/// A provider's circuit breaker. It admits each request and observes each answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    state: CircuitState,
    /// Trips in a row without a success in between.
    trips: u32,
    /// Refused probes since the last wait.
    #[serde(default)]
    refused_probes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CircuitState {
    /// Requests pass.
    #[serde(rename = "open")]
    Closed,
    /// Requests pass from then on: the provider asked for a pause.
    PausedUntil(Timestamp),
    /// No request passes until then; after that, one request at a time probes.
    #[serde(rename = "tripped")]
    Open { until: Timestamp, reason: TripReason },
    /// One probe is under way. If it is unanswered at that time, another may follow.
    #[serde(rename = "probing")]
    HalfOpen { until: Timestamp, reason: TripReason },
    /// No request passes until an operator or changed client settings close the circuit.
    Stopped { reason: TripReason },
}

/// The circuit breaker's reply to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitAdmission {
    /// The request may be sent.
    Go,
    /// Ask again at this time.
    WaitUntil(Timestamp),
    /// Only an operator can end this.
    Shut,
}

/// The wait after the first trip; each further trip in a row doubles it. Short, because the grants
/// that tripped the circuit may have come first by chance.
const FIRST_TRIP_DELAY: Duration = Duration::from_secs(2);
/// The longest wait after a trip.
const TRIP_DELAY_MAX: Duration = Duration::from_secs(300);
/// How many probes in a row are refused before the next wait, after the first trip. Each probe is
/// for another grant: a grant that is refused on its own account must not keep the circuit open.
/// Each further trip in a row doubles the number, so a healthy grant is soon among them.
const PROBES: u32 = 5;
/// The most probes between two waits.
const PROBES_MAX: u32 = 160;
/// If a probe has no answer within this time, another follows.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { state: CircuitState::Closed, trips: 0, refused_probes: 0 }
    }
}

impl CircuitBreaker {
    /// Asks to send a request now. On an open circuit, [`CircuitAdmission::Go`] makes the request
    /// the probe, so ask only for a request that will be sent.
    pub fn admit(&mut self, now: Timestamp) -> CircuitAdmission {
        match self.state {
            CircuitState::Closed => CircuitAdmission::Go,
            CircuitState::PausedUntil(until) if now >= until => {
                self.state = CircuitState::Closed;
                CircuitAdmission::Go
            }
            CircuitState::Open { until, reason } | CircuitState::HalfOpen { until, reason }
                if now >= until =>
            {
                self.state = CircuitState::HalfOpen { until: now.plus(PROBE_TIMEOUT), reason };
                CircuitAdmission::Go
            }
            CircuitState::PausedUntil(until)
            | CircuitState::Open { until, .. }
            | CircuitState::HalfOpen { until, .. } => CircuitAdmission::WaitUntil(until),
            CircuitState::Stopped { .. } => CircuitAdmission::Shut,
        }
    }

    /// Observes an answer.
    pub fn note(&mut self, signal: &BudgetSignal, now: Timestamp) {
        match (signal, self.state) {
            // An answer to a request from before the stop proves nothing.
            (_, CircuitState::Stopped { .. }) => {}
            (BudgetSignal::Trip(reason @ TripReason::Unreadable), _) => {
                self.state = CircuitState::Stopped { reason: *reason };
            }
            (BudgetSignal::Healthy, CircuitState::Open { .. } | CircuitState::HalfOpen { .. }) => {
                *self = Self::default()
            }
            (BudgetSignal::Healthy, _) => self.trips = 0,
            (BudgetSignal::Neutral, _) => {}
            (BudgetSignal::Pause(pause), CircuitState::Closed | CircuitState::PausedUntil(_)) => {
                let until = now.plus(*pause);
                let longer =
                    matches!(self.state, CircuitState::PausedUntil(known) if known > until);
                if !longer {
                    self.state = CircuitState::PausedUntil(until);
                }
            }
            // A throttle while the circuit is open: the client may still be rejected.
            (BudgetSignal::Pause(_), CircuitState::Open { .. } | CircuitState::HalfOpen { .. }) => {
            }
            // Answers to requests from before the trip do not lengthen it.
            (BudgetSignal::Trip(_), CircuitState::Open { .. }) => {}
            (BudgetSignal::Trip(reason), CircuitState::HalfOpen { .. })
                if self.refused_probes + 1 < self.probes() =>
            {
                self.refused_probes += 1;
                self.state = CircuitState::Open { until: now, reason: *reason };
            }
            (BudgetSignal::Trip(reason), _) => {
                self.refused_probes = 0;
                let wait = FIRST_TRIP_DELAY.saturating_mul(2_u32.saturating_pow(self.trips));
                self.trips = self.trips.saturating_add(1);
                self.state = CircuitState::Open {
                    until: now.plus(wait.min(TRIP_DELAY_MAX)),
                    reason: *reason,
                };
            }
        }
    }

    /// The number of probes before the next wait.
    fn probes(&self) -> u32 {
        let doubled = 2_u32.saturating_pow(self.trips.saturating_sub(1));
        PROBES.saturating_mul(doubled).min(PROBES_MAX)
    }

    /// Lets the next request through as a probe, if the circuit is open or stopped. A pause stays,
    /// because the provider asked for it, and so does a probe under way.
    pub fn probe_now(&mut self, now: Timestamp) {
        match self.state {
            CircuitState::Open { until, reason } => {
                self.state = CircuitState::Open { until: now.min(until), reason };
            }
            CircuitState::Stopped { reason } => {
                self.state = CircuitState::Open { until: now, reason }
            }
            CircuitState::Closed | CircuitState::PausedUntil(_) | CircuitState::HalfOpen { .. } => {
            }
        }
    }

    /// Whether nothing is sent until an operator or changed client settings close the circuit.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.state, CircuitState::Stopped { .. })
    }

    /// Why the circuit is open, if it is.
    pub const fn tripped(&self) -> Option<TripReason> {
        match self.state {
            CircuitState::Open { reason, .. }
            | CircuitState::HalfOpen { reason, .. }
            | CircuitState::Stopped { reason } => Some(reason),
            CircuitState::Closed | CircuitState::PausedUntil(_) => None,
        }
    }

    /// Until when no request passes, if that is so now and the time is known.
    pub fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state {
            CircuitState::PausedUntil(until)
            | CircuitState::Open { until, .. }
            | CircuitState::HalfOpen { until, .. }
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
    fn after_a_trip_a_successful_probe_closes_the_circuit() {
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
    fn an_operator_can_probe_an_open_circuit_early() {
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
    fn an_unreadable_answer_stops_the_provider_until_an_operator_acts() {
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
    fn a_late_success_from_before_the_trip_closes_the_circuit() {
        let mut gate = CircuitBreaker::default();
        gate.note(&TRIP, NOW);
        gate.note(&BudgetSignal::Healthy, after(1));
        assert_eq!(gate.admit(after(1)), CircuitAdmission::Go);
    }
}
