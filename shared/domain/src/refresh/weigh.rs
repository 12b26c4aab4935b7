//! Weighs an answer against the answers to other grants: is it about its own grant or about all of
//! them?
//!
//! An answer counts as being about its own grant until others show otherwise. The evidence is the
//! number of *different* grants in a row without a success in between, as with a circuit breaker
//! that has a minimum count:
//!
//! * A refusal is the grant's own. When too many different grants are refused in a row, the
//!   provider refuses the client: its circuit opens and no grant loses an attempt. If the provider
//!   itself names the client, the first refusal suffices. If tenants have clients of their own, each
//!   client is judged by its own grants, and the others continue.
//! * A death is believed when it is confirmed: the provider is asked again before the user is told.
//!   When an unusual share of the grants dies, no death is believed. When the confirmation succeeds
//!   instead, the provider's deaths are not believed for a while.
//! * A throttle makes all grants wait longer, the more different grants are throttled in a row.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::shard::stable_hash;
use crate::{ExchangeFailure, Grant, Outcome, RefusalScope, Timestamp};

/// When answers are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSettings {
    /// After how long a death is asked again before it is believed; zero believes the first answer.
    pub death_recheck: Duration,
    /// The unusual share of deaths among a provider's grants, in per cent.
    pub mass_death_percent: u8,
    /// Fewer deaths than this are never unusual.
    pub mass_death_min: usize,
    /// How long answers count.
    pub window: Duration,
}

impl Default for WatchSettings {
    /// The second request comes soon: it detects a momentary error of the provider. One success
    /// among the second requests shows that deaths are not to be believed now, which then holds for
    /// the whole window. Half of all grants may die at once while others succeed and show that the
    /// client works; nearly all may not.
    fn default() -> Self {
        Self {
            death_recheck: Duration::from_secs(15),
            mass_death_percent: 80,
            mass_death_min: 20,
            window: Duration::from_secs(600),
        }
    }
}

/// What all replicas together know about a provider before an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeathEvidence {
    /// Whether deaths are believed.
    pub belief: DeathBelief,
    /// Whether its circuit is open.
    pub is_tripped: bool,
    /// Whether a refresh has succeeded with the present client settings.
    pub client_works: bool,
}

/// What is known about deaths before an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeathBelief {
    /// Nothing: the share of deaths decides.
    ByShare,
    /// They are not believed: the circuit is open because of deaths, or the client's settings have
    /// changed and no refresh has succeeded since.
    Doubt,
    /// They are believed: an operator has confirmed them.
    Trust,
}

/// Remembers a provider's latest answers and decides what an answer is about.
#[derive(Debug)]
pub struct AnswerWatch {
    settings: WatchSettings,
    /// The latest end of each recent grant: when, which grant, and whether it was a death.
    ends: VecDeque<(Timestamp, u64, bool)>,
    /// The answers to each of our clients, by its id; None if there is only one.
    clients: BTreeMap<Option<String>, ClientAnswers>,
    /// Throttled grants since the last success.
    throttled: Streak,
    /// When the second request after a death last succeeded.
    disproved_at: Option<Timestamp>,
    /// Deaths in a row among the probes of an open circuit.
    dead_probes: u32,
    revive_since: Option<Timestamp>,
}

/// The most grants in `ends`.
const MEMORY: usize = 500;
/// This many different grants refused in a row mean that the client is refused.
const REFUSALS: usize = 5;
/// The same if another grant has succeeded recently, or the refusal is about consent. If every
/// second grant is refused, this many in a row occur once in a million.
const DOUBTFUL_REFUSALS: usize = 20;
/// After this many deaths in a row among probes, the client counts as accepted and the grants as
/// dead.
const DEAD_PROBES: u32 = 5;

impl AnswerWatch {
    /// A watch that has seen nothing.
    pub fn new(settings: WatchSettings) -> Self {
        Self {
            settings,
            ends: VecDeque::new(),
            clients: BTreeMap::new(),
            throttled: Streak::default(),
            disproved_at: None,
            dead_probes: 0,
            revive_since: None,
        }
    }

    /// Observes the outcome of an exchange of `grant` and returns what it means beside the answers
    /// to others. `tenant` is the id of its client, if tenants have clients of their own.
    ///
    /// ```
    /// # #[cfg(feature = "examples")] {
    /// use evergrant_domain::weigh::{AnswerWatch, DeathBelief, DeathEvidence, WatchSettings};
    /// use evergrant_domain::{ExchangeFailure, Grant, Outcome, Timestamp};
    ///
    /// let now = Timestamp::from_unix_ms(1_700_000_000_000);
    /// let mut watch = AnswerWatch::new(WatchSettings::default());
    /// let evidence =
    ///     DeathEvidence { belief: DeathBelief::ByShare, is_tripped: false, client_works: true };
    /// let told = Outcome::GrantDead(ExchangeFailure::described("invalid_grant"));
    /// let weighed = watch.weigh(told, &Grant::example(now), None, now, evidence);
    /// // The first word about a grant's end is asked for again before its user is told.
    /// assert!(!matches!(weighed, Outcome::GrantDead(_)));
    /// # }
    /// ```
    pub fn weigh(
        &mut self,
        outcome: Outcome,
        grant: &Grant,
        tenant: Option<&str>,
        now: Timestamp,
        evidence: DeathEvidence,
    ) -> Outcome {
        let who = stable_hash(&grant.id);
        match outcome {
            Outcome::Refreshed(tokens) => {
                self.succeeded(grant, tenant, now);
                Outcome::Refreshed(tokens)
            }
            Outcome::GrantDead(failure) => self.death(failure, grant, now, evidence),
            Outcome::Refused(failure, refusal) => {
                self.refusal(failure, refusal, grant, tenant, now, evidence)
            }
            // An HTML page may be the same for all grants. From a provider whose answers were never
            // readable, it may be its form of success.
            Outcome::Ambiguous(failure) if failure.http_status.is_some_and(|s| s < 300) => {
                if !evidence.client_works {
                    Outcome::Blank(failure)
                } else if self.is_everybodys(who, None, RefusalScope::Unclear, now, evidence) {
                    Outcome::Misconfigured(failure)
                } else {
                    Outcome::Ambiguous(failure)
                }
            }
            Outcome::Throttled(failure, 0) => Outcome::Throttled(failure, 0),
            Outcome::Throttled(failure, _) => {
                self.throttled.add(who);
                let grants = u32::try_from(self.throttled.grants.len()).unwrap_or(u32::MAX);
                Outcome::Throttled(failure, grants)
            }
            other => other,
        }
    }

    /// If deaths or refusals have just turned out not to be the grants' own: the time since which
    /// grants are to be revived, by any worker. Returned once.
    pub fn revive_since(&mut self) -> Option<Timestamp> {
        self.revive_since.take()
    }

    fn succeeded(&mut self, grant: &Grant, tenant: Option<&str>, now: Timestamp) {
        if grant.questioned {
            self.disproved_at = Some(now);
        }
        self.remember(stable_hash(&grant.id), now, false);
        let answers = ClientAnswers { succeeded_at: Some(now), refused: Streak::default() };
        // HTML pages belong to no client, so any success ends a run of them.
        for client in BTreeSet::from([None, tenant]) {
            self.clients.insert(client.map(str::to_owned), answers.clone());
        }
        self.throttled = Streak::default();
        self.dead_probes = 0;
    }

    fn death(
        &mut self,
        failure: ExchangeFailure,
        grant: &Grant,
        now: Timestamp,
        evidence: DeathEvidence,
    ) -> Outcome {
        if evidence.belief == DeathBelief::Trust {
            return Outcome::GrantDead(failure);
        }
        self.remember(stable_hash(&grant.id), now, true);
        if evidence.belief == DeathBelief::Doubt {
            return Outcome::Suspicious(failure);
        }
        if self.is_unusual() {
            self.revive_since = Some(now.minus(self.settings.window));
            return Outcome::Suspicious(failure);
        }
        self.second_look(failure, grant, now, evidence)
    }

    /// Whether a death is believed now, or asked again.
    fn second_look(
        &mut self,
        failure: ExchangeFailure,
        grant: &Grant,
        now: Timestamp,
        evidence: DeathEvidence,
    ) -> Outcome {
        let WatchSettings { death_recheck, window, .. } = self.settings;
        // Something else opened the circuit. An operator has to say whether all are dead.
        self.dead_probes = if evidence.is_tripped { self.dead_probes + 1 } else { 0 };
        if self.dead_probes >= DEAD_PROBES {
            Outcome::Suspicious(failure)
        } else if death_recheck.is_zero() {
            Outcome::GrantDead(failure)
        } else if self.disproved_at.is_some_and(|at| now.minus(window) < at) {
            Outcome::Unconfirmed(failure, window)
        } else if evidence.is_tripped || !grant.questioned {
            Outcome::Unconfirmed(failure, death_recheck)
        } else {
            Outcome::GrantDead(failure)
        }
    }

    fn refusal(
        &mut self,
        failure: ExchangeFailure,
        refusal: RefusalScope,
        grant: &Grant,
        tenant: Option<&str>,
        now: Timestamp,
        evidence: DeathEvidence,
    ) -> Outcome {
        if self.is_everybodys(stable_hash(&grant.id), tenant, refusal, now, evidence) {
            match tenant {
                None => Outcome::Misconfigured(failure),
                Some(_) => Outcome::TenantRefused(failure),
            }
        } else if refusal == RefusalScope::Consent && evidence.client_works {
            self.second_look(failure, grant, now, evidence)
        } else {
            Outcome::Refused(failure, refusal)
        }
    }

    /// Counts a refusal of this grant. True if so many grants of its client are refused that it is
    /// not about single grants.
    fn is_everybodys(
        &mut self,
        who: u64,
        tenant: Option<&str>,
        refusal: RefusalScope,
        now: Timestamp,
        evidence: DeathEvidence,
    ) -> bool {
        if evidence.is_tripped || evidence.belief == DeathBelief::Doubt {
            return true;
        }
        let since = now.minus(self.settings.window);
        let client = self.clients.entry(tenant.map(str::to_owned)).or_default();
        client.refused.add(who);
        let succeeded_lately = client.succeeded_at.is_some_and(|at| at > since);
        let is_doubtful = succeeded_lately || refusal == RefusalScope::Consent;
        let enough = if is_doubtful { DOUBTFUL_REFUSALS } else { REFUSALS };
        // If nothing has ever succeeded, a few grants that are refused repeatedly suffice. A success of
        // another tenant is no word about this one's client.
        let works = match tenant {
            None => evidence.client_works,
            Some(_) => client.succeeded_at.is_some(),
        };
        let never = !works && client.refused.answers >= enough;
        // The provider itself names the client, and no recent success contradicts it.
        let is_told = refusal == RefusalScope::Client && !succeeded_lately;
        let is_everybodys = is_told || never || client.refused.grants.len() >= enough;
        // What one tenant's client says is no word about the grants of others, of which all would be revived.
        if is_everybodys && tenant.is_none() {
            self.revive_since = Some(since);
        }
        is_everybodys
    }

    fn remember(&mut self, who: u64, now: Timestamp, dead: bool) {
        let oldest = now.minus(self.settings.window);
        self.ends.retain(|&(at, of, _)| at >= oldest && of != who);
        if self.ends.len() == MEMORY {
            self.ends.pop_front();
        }
        self.ends.push_back((now, who, dead));
    }

    fn is_unusual(&self) -> bool {
        let deaths = self.ends.iter().filter(|(_, _, dead)| *dead).count();
        let share_exceeded =
            deaths * 100 > self.ends.len() * usize::from(self.settings.mass_death_percent);
        deaths >= self.settings.mass_death_min && share_exceeded
    }
}

/// The answers to the grants of one of our clients.
#[derive(Debug, Clone, Default)]
struct ClientAnswers {
    succeeded_at: Option<Timestamp>,
    /// Refused grants since the last success.
    refused: Streak,
}

/// Different grants in a row.
#[derive(Debug, Clone, Default)]
struct Streak {
    grants: Vec<u64>,
    answers: usize,
}

impl Streak {
    fn add(&mut self, who: u64) {
        self.answers = self.answers.saturating_add(1);
        // Beyond this number they need not be distinguished.
        if self.grants.len() < 64 && !self.grants.contains(&who) {
            self.grants.push(who);
        }
    }
}

#[cfg(test)]
mod tests;
