//! What all replicas know of a provider.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::circuit_breaker::{CircuitAdmission, CircuitBreaker};
use super::limit::RateLimit;
use super::rate_schedule::{RateSchedule, SlotRequest, SlotReservation};
use crate::settlement::TripReason;
use crate::weigh::{DeathBelief, DeathEvidence};
use crate::{BudgetSignal, Timestamp};

/// What all replicas know of a provider. It lives in the store, so that every replica acts on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderState {
    /// Its pauses and its circuit.
    pub gate: CircuitBreaker,
    /// Its rate.
    pub cell: RateSchedule,
    /// Limits that an operator has set, in place of those of the settings.
    pub limits: Option<Vec<RateLimit>>,
    /// An operator's pause.
    pub pause: Option<OperatorPause>,
    /// Our client there.
    pub client: ClientHistory,
    /// Until when every death of a grant is believed, because an operator has said so.
    pub deaths_believed_until: Option<Timestamp>,
    /// That reservations take so long that they lower the rate, if the last one said so.
    pub slow_store: Option<SlowStore>,
}

/// A reservation in the store that took so long that slots are rarer than the limits allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowStore {
    /// How long a read and a conditional write took together, in milliseconds.
    pub took_ms: u64,
    /// When.
    pub at: Timestamp,
}

/// What is known of our client at a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientHistory {
    /// What stands for its settings, of the worker that started last.
    pub fingerprint: Option<String>,
    /// When they changed, if nothing has been refreshed with them yet.
    pub changed_at: Option<Timestamp>,
    /// A refresh has succeeded with them.
    pub works: bool,
}

/// How long it is remembered that the store was slow for some replica.
const SLOW_STORE_TTL: Duration = Duration::from_secs(60);
/// How long an operator's word about deaths holds.
const CONFIRMATION_TTL: Duration = Duration::from_secs(3_600);

/// A pause by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorPause {
    /// When it ends by itself; None if an operator has to end it.
    pub until: Option<Timestamp>,
    /// When it began.
    pub since: Timestamp,
    /// Why, in the operator's words.
    pub why: String,
}

/// What a replica that wants to send requests may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendDecision {
    /// Send nothing, and ask again at this time or when the state has changed. None if only an
    /// operator can tell.
    Shut(Option<Timestamp>),
    /// Send as much as it likes: there is no limit.
    Free,
    /// Send one request, at the one slot of this, whose answer decides whether the circuit closes.
    Probe(SlotReservation),
    /// Send a request at each of these slots.
    Slice(SlotReservation),
    /// Send nothing yet: no slot is free, or none is wanted.
    Full,
}

impl ProviderState {
    /// The limits that hold: an operator's, or else those of the settings.
    pub fn limits<'a>(&'a self, configured: &'a [RateLimit]) -> &'a [RateLimit] {
        self.limits.as_deref().unwrap_or(configured)
    }

    /// A worker starts with these settings of our client. Other ones may be able to read what stopped the
    /// provider.
    pub fn introduce(&mut self, fingerprint: &str, now: Timestamp) {
        match &self.client.fingerprint {
            Some(known) if known == fingerprint => return,
            // The first ones have not changed.
            None => {}
            Some(_) => self.client.changed_at = Some(now),
        }
        if self.gate.is_stopped() {
            self.gate.probe_now(now);
        }
        self.client.fingerprint = Some(fingerprint.to_owned());
        self.client.works = false;
    }

    /// Takes note of an answer that came to a worker with these settings of our client. That earlier
    /// settings still work says nothing of the present ones.
    pub fn note(&mut self, signal: &BudgetSignal, fingerprint: &str, now: Timestamp) {
        self.gate.note(signal, now);
        let is_present =
            self.client.fingerprint.as_deref().is_none_or(|known| known == fingerprint);
        if *signal == BudgetSignal::Healthy && is_present {
            self.client.changed_at = None;
            self.client.works = true;
        }
    }

    /// A replica reserves slots: `slow` says that this takes so long that it lowers the rate. What
    /// another replica said of itself stays for a while.
    pub fn note_reservation(&mut self, slow: Option<SlowStore>, now: Timestamp) {
        let known = self.slow_store.filter(|known| now.since(known.at) < SLOW_STORE_TTL);
        self.slow_store = slow.or(known);
    }

    /// What is known beforehand of an answer.
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

    /// Takes a turn: reserves what `ask` wants, if it may be had.
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

    /// Whether nothing may be sent now, and until when: `Some(None)` if only an operator can tell.
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

    /// An operator wants nothing to be sent, for as long or until it is ended.
    pub fn pause(&mut self, duration: Option<Duration>, why: String, now: Timestamp) {
        let until = duration.map(|duration| now.plus(duration));
        self.pause = Some(OperatorPause { until, since: now, why });
    }

    /// An operator wants requests to be sent again, whatever shut the provider.
    pub fn resume(&mut self) {
        self.pause = None;
        self.gate = CircuitBreaker::default();
    }

    /// An operator wants an open circuit to be probed now.
    pub fn probe_now(&mut self, now: Timestamp) {
        self.gate.probe_now(now);
    }

    /// An operator confirms that so many grants are dead indeed: for an hour deaths are believed,
    /// and the circuit closes.
    pub fn confirm_deaths(&mut self, now: Timestamp) {
        self.deaths_believed_until = Some(now.plus(CONFIRMATION_TTL));
        self.gate = CircuitBreaker::default();
    }

    /// How it stands, for operators.
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

/// How a provider stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProviderStanding {
    /// Requests are sent.
    Open,
    /// An operator wants nothing to be sent.
    Paused(OperatorPause),
    /// The provider asked to wait.
    Throttled {
        /// When it is asked again.
        until: Timestamp,
    },
    /// The circuit is open.
    Tripped {
        /// Why.
        reason: TripReason,
        /// When the next probe is due, or the present one is given up. None if only an operator or
        /// changed settings open it.
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
    fn after_a_change_of_the_client_deaths_are_doubted_until_a_refresh_succeeds() {
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
    fn changed_settings_of_the_client_are_tried_where_an_answer_could_not_be_read() {
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
    fn an_open_circuit_for_deaths_doubts_them_until_an_operator_confirms() {
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
    fn an_operator_pauses_for_a_while_or_until_further_notice() {
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
    fn a_provider_that_nobody_has_written_about_and_one_of_an_older_release_are_open() {
        let older: ProviderState = serde_json::from_str("{}").unwrap();
        assert_eq!(older, ProviderState::default());
        let json = serde_json::to_string(&ProviderState::default()).unwrap();
        assert_eq!(serde_json::from_str::<ProviderState>(&json).unwrap(), older);
    }
}
