//! The state of a provider that all replicas share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::circuit_breaker::{CircuitAdmission, CircuitBreaker};
use super::limit::RateLimit;
use super::rate_schedule::{RateSchedule, SlotRequest, SlotReservation};
use crate::settlement::TripReason;
use crate::weigh::{DeathBelief, DeathEvidence};
use crate::{BudgetSignal, Timestamp};

/// The state of a provider that all replicas share. It is kept in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderState {
    /// Its pauses and its circuit breaker.
    pub gate: CircuitBreaker,
    /// Its rate schedule.
    pub cell: RateSchedule,
    /// Limits set by an operator, which replace those of the settings.
    pub limits: Option<Vec<RateLimit>>,
    /// An operator's pause.
    pub pause: Option<OperatorPause>,
    /// What is known about our client there.
    pub client: ClientHistory,
    /// Until when every death of a grant is believed, because an operator has confirmed it.
    pub deaths_believed_until: Option<Timestamp>,
    /// Whether reservations take so long that they lower the rate, according to the latest one.
    pub slow_store: Option<SlowStore>,
}

/// A reservation that took so long that slots are rarer than the limits allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowStore {
    /// The duration of a read and a conditional write together, in milliseconds.
    pub took_ms: u64,
    /// When that was.
    pub at: Timestamp,
}

/// What is known about our client at a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientHistory {
    /// The fingerprint of its settings, from the worker that started last.
    pub fingerprint: Option<String>,
    /// When they changed, if nothing has been refreshed with them yet.
    pub changed_at: Option<Timestamp>,
    /// Whether a refresh has succeeded with them.
    pub works: bool,
}

/// How long a slow store is remembered.
const SLOW_STORE_TTL: Duration = Duration::from_secs(60);
/// How long an operator's confirmation of deaths is valid.
const CONFIRMATION_TTL: Duration = Duration::from_secs(3_600);

/// A pause by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorPause {
    /// When it ends by itself; None if an operator has to end it.
    pub until: Option<Timestamp>,
    /// When it began.
    pub since: Timestamp,
    /// The operator's reason.
    pub why: String,
}

/// What a replica may send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendDecision {
    /// Nothing. Ask again at this time, or when the state has changed; None if only an operator can
    /// end it.
    Shut(Option<Timestamp>),
    /// Any number of requests: there is no limit.
    Free,
    /// One request at the one slot of this reservation; its answer decides whether the circuit
    /// closes.
    Probe(SlotReservation),
    /// One request at each of these slots.
    Slice(SlotReservation),
    /// Nothing yet: no slot is free, or none is wanted.
    Full,
}

impl ProviderState {
    /// The limits in force: an operator's, or those of the settings.
    pub fn limits<'a>(&'a self, configured: &'a [RateLimit]) -> &'a [RateLimit] {
        self.limits.as_deref().unwrap_or(configured)
    }

    /// Notes the client settings of a starting worker. Changed settings may be able to read the
    /// answers that stopped the provider.
    pub fn introduce(&mut self, fingerprint: &str, now: Timestamp) {
        match &self.client.fingerprint {
            Some(known) if known == fingerprint => return,
            // The first settings are not a change.
            None => {}
            Some(_) => self.client.changed_at = Some(now),
        }
        if self.gate.is_stopped() {
            self.gate.probe_now(now);
        }
        self.client.fingerprint = Some(fingerprint.to_owned());
        self.client.works = false;
    }

    /// Notes an answer to a worker with these client settings. A success of earlier settings says
    /// nothing about the present ones.
    pub fn note(&mut self, signal: &BudgetSignal, fingerprint: &str, now: Timestamp) {
        self.gate.note(signal, now);
        let is_present =
            self.client.fingerprint.as_deref().is_none_or(|known| known == fingerprint);
        if *signal == BudgetSignal::Healthy && is_present {
            self.client.changed_at = None;
            self.client.works = true;
        }
    }

    /// Notes the duration of a reservation: `slow` if it lowers the rate. The note of another
    /// replica stays for a while.
    pub fn note_reservation(&mut self, slow: Option<SlowStore>, now: Timestamp) {
        let known = self.slow_store.filter(|known| now.since(known.at) < SLOW_STORE_TTL);
        self.slow_store = slow.or(known);
    }

    /// What is known about deaths before an answer is weighed.
    pub fn evidence(&self, now: Timestamp) -> DeathEvidence {
        DeathEvidence {
            belief: self.belief(now),
            is_tripped: self.gate.tripped().is_some(),
            client_works: self.client.works,
        }
    }

    fn belief(&self, now: Timestamp) -> DeathBelief {
        if self.deaths_believed_until.is_some_and(|until| now < until) {
            return DeathBelief::Trust;
        }
        let doubted = self.gate.tripped() == Some(TripReason::Suspicious);
        if doubted || self.client.changed_at.is_some() {
            DeathBelief::Doubt
        } else {
            DeathBelief::ByShare
        }
    }

    /// Reserves the slots that `ask` wants, if that is possible now.
    pub fn take_turn(&mut self, configured: &[RateLimit], ask: &SlotRequest) -> SendDecision {
        let now = ask.now.timestamp();
        let limits = self.limits.take();
        let in_force = limits.as_deref().unwrap_or(configured);
        let turn = self.turn(in_force, ask, now);
        self.limits = limits;
        turn
    }

    fn turn(&mut self, limits: &[RateLimit], ask: &SlotRequest, now: Timestamp) -> SendDecision {
        let shut = self.shut_until(now);
        let tripped = self.gate.tripped().is_some();
        let wanted = match (shut, tripped) {
            (Some(_), _) => 0,
            (None, true) => ask.wanted.min(1),
            (None, false) => ask.wanted,
        };
        let slice = self.cell.reserve(limits, &SlotRequest { wanted, ..*ask });
        match (shut, slice) {
            (Some(until), _) => SendDecision::Shut(until),
            (None, None) if limits.is_empty() && tripped && wanted > 0 => {
                self.probe(SlotReservation::without_limit(ask), now)
            }
            (None, None) if limits.is_empty() && !tripped => SendDecision::Free,
            (None, None) => SendDecision::Full,
            (None, Some(slice)) if tripped => self.probe(slice, now),
            (None, Some(slice)) => SendDecision::Slice(slice),
        }
    }

    fn probe(&mut self, place: SlotReservation, now: Timestamp) -> SendDecision {
        match self.gate.admit(now) {
            CircuitAdmission::Go => SendDecision::Probe(place),
            CircuitAdmission::WaitUntil(until) => SendDecision::Shut(Some(until)),
            CircuitAdmission::Shut => SendDecision::Shut(None),
        }
    }

    /// Until when nothing may be sent, if that is so now: `Some(None)` if only an operator can end
    /// it.
    pub fn shut_until(&self, now: Timestamp) -> Option<Option<Timestamp>> {
        if self.gate.is_stopped() {
            return Some(None);
        }
        let paused = self.pause.as_ref().map(|pause| pause.until);
        let paused = paused.filter(|until| until.is_none_or(|until| now < until));
        match (paused, self.gate.shut_until(now)) {
            (Some(None), _) => Some(None),
            (Some(Some(paused)), gate) => Some(Some(gate.map_or(paused, |gate| gate.max(paused)))),
            (None, gate) => gate.map(Some),
        }
    }

    /// Pauses the provider for an operator, for this time or until it is resumed.
    pub fn pause(&mut self, duration: Option<Duration>, why: String, now: Timestamp) {
        let until = duration.map(|duration| now.plus(duration));
        self.pause = Some(OperatorPause { until, since: now, why });
    }

    /// Resumes the provider for an operator, whatever had stopped it.
    pub fn resume(&mut self) {
        self.pause = None;
        self.gate = CircuitBreaker::default();
    }

    /// Lets a probe through an open circuit for an operator.
    pub fn probe_now(&mut self, now: Timestamp) {
        self.gate.probe_now(now);
    }

    /// Confirms for an operator that the grants are dead: deaths are believed for an hour, and the
    /// circuit closes.
    pub fn confirm_deaths(&mut self, now: Timestamp) {
        self.deaths_believed_until = Some(now.plus(CONFIRMATION_TTL));
        self.gate = CircuitBreaker::default();
    }

    /// The provider's state for operators.
    pub fn standing(&self, now: Timestamp) -> ProviderStanding {
        if let Some(pause) = &self.pause
            && pause.until.is_none_or(|until| now < until)
        {
            return ProviderStanding::Paused(pause.clone());
        }
        let until = self.gate.shut_until(now);
        match (self.gate.tripped(), until) {
            (Some(reason), _) if self.gate.is_stopped() => {
                ProviderStanding::Tripped { reason, until: None }
            }
            (Some(reason), until) => {
                ProviderStanding::Tripped { reason, until: Some(until.unwrap_or(now)) }
            }
            (None, Some(until)) => ProviderStanding::Throttled { until },
            (None, None) => ProviderStanding::Open,
        }
    }
}

/// A provider's state, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProviderStanding {
    /// Requests are sent.
    Open,
    /// An operator has paused the provider.
    Paused(OperatorPause),
    /// The provider asked to wait.
    Throttled {
        /// When requests are sent again.
        until: Timestamp,
    },
    /// The circuit is open.
    Tripped {
        /// Why.
        reason: TripReason,
        /// When the next probe is due, or the present one is given up. None if only an operator or
        /// changed settings close the circuit.
        until: Option<Timestamp>,
    },
}

impl ProviderStanding {
    /// The name in tables.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused(_) => "paused",
            Self::Throttled { .. } => "throttled",
            Self::Tripped { .. } => "tripped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn changed_client_settings_doubt_deaths_until_a_success() {
        let mut state = ProviderState::default();
        state.introduce("first", NOW);
        assert_eq!(state.belief(NOW), DeathBelief::ByShare);
        state.introduce("second", after(1));
        assert_eq!(state.belief(after(1)), DeathBelief::Doubt);
        state.introduce("second", after(2));
        assert_eq!(state.client.changed_at, Some(after(1)));
        state.note(&BudgetSignal::Healthy, "first", after(3));
        assert_eq!(state.belief(after(3)), DeathBelief::Doubt, "an old worker still works");
        state.note(&BudgetSignal::Healthy, "second", after(4));
        assert_eq!(state.belief(after(4)), DeathBelief::ByShare);
        assert!(state.evidence(after(4)).client_works);
    }

    #[test]
    fn changed_client_settings_restart_a_stopped_provider() {
        let mut state = ProviderState::default();
        state.introduce("first", NOW);
        state.note(&BudgetSignal::Trip(TripReason::Unreadable), "first", NOW);
        assert_eq!(state.shut_until(after(1_000_000)), Some(None));
        state.introduce("first", after(1));
        assert_eq!(state.shut_until(after(1)), Some(None));
        state.introduce("second", after(2));
        assert_eq!(state.shut_until(after(2)), None);
        assert!(state.evidence(after(2)).is_tripped, "one request probes");
    }

    #[test]
    fn a_circuit_open_for_deaths_doubts_them_until_confirmed() {
        let mut state = ProviderState::default();
        state.note(&BudgetSignal::Trip(TripReason::Misconfigured), "c", NOW);
        assert_eq!(state.belief(NOW), DeathBelief::ByShare);
        state.gate = CircuitBreaker::default();
        state.note(&BudgetSignal::Trip(TripReason::Suspicious), "c", NOW);
        assert_eq!(state.belief(NOW), DeathBelief::Doubt);
        state.confirm_deaths(NOW);
        assert_eq!(
            (state.belief(NOW), state.standing(NOW)),
            (DeathBelief::Trust, ProviderStanding::Open)
        );
        assert_eq!(state.belief(after(3_600)), DeathBelief::ByShare);
    }

    #[test]
    fn an_operator_pauses_for_a_time_or_indefinitely() {
        let mut state = ProviderState::default();
        state.pause(Some(Duration::from_secs(600)), "maintenance".to_owned(), NOW);
        assert_eq!(state.shut_until(after(599)), Some(Some(after(600))));
        assert_eq!(
            (state.shut_until(after(600)), state.standing(after(600))),
            (None, ProviderStanding::Open)
        );
        state.pause(None, String::new(), NOW);
        assert_eq!(state.shut_until(after(99_999)), Some(None));
        state.note(&BudgetSignal::Trip(TripReason::Misconfigured), "c", NOW);
        state.resume();
        assert_eq!(state.standing(NOW), ProviderStanding::Open);
    }

    #[test]
    fn an_unknown_provider_and_an_old_record_admit_requests() {
        let older: ProviderState = serde_json::from_str("{}").unwrap();
        assert_eq!(older, ProviderState::default());
        let json = serde_json::to_string(&ProviderState::default()).unwrap();
        assert_eq!(serde_json::from_str::<ProviderState>(&json).unwrap(), older);
    }
}
