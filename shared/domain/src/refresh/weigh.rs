//! Whom an answer is about: the grant that asked, or all of them.
//!
//! An answer is about the one who asked until the answers of others say otherwise. It is judged by
//! *different* grants in a row with no success between, as by a circuit breaker with a minimum count:
//!
//! * A refusal is the grant's own. When too many different ones are refused with no success between, the
//!   provider refuses our client: its circuit opens and nobody's attempts are burned. Where the provider
//!   says that it is the client, the first will do. Where tenants have clients of their own, each is judged
//!   by its grants, and the others go on.
//! * A death is believed at the second look: it is asked again once before the user is told. When an
//!   unusual share of the grants dies, none is believed. When a second look succeeds after all, the
//!   provider's word is not taken for a while.
//! * A throttle makes all wait the longer, the more different grants are throttled in a row.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::shard::stable_hash;
use crate::{ExchangeFailure, Grant, Outcome, RefusalScope, Timestamp};

/// When answers are taken for what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSettings {
    /// After how long a death is asked for again before it is believed; zero believes the first answer.
    pub death_recheck: Duration,
    /// The share of deaths among a provider's grants that is unusual, in per cent.
    pub mass_death_percent: u8,
    /// Deaths below this number are never unusual.
    pub mass_death_min: usize,
    /// How far back answers count.
    pub window: Duration,
}

impl Default for WatchSettings {
    /// The second look comes soon: it shows a provider's slip of a moment, and one success among the
    /// second looks shows that its deaths are not to be believed now, which then waits for the whole
    /// window. Half of all grants may well die at once, among successes that show that the client is in
    /// order; nearly all may not.
    fn default() -> Self {
        Self {
            death_recheck: Duration::from_secs(15),
            mass_death_percent: 80,
            mass_death_min: 20,
            window: Duration::from_secs(600),
        }
    }
}

/// What is known beforehand of a provider's answers, by all replicas together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeathEvidence {
    /// Whether deaths are believed.
    pub belief: DeathBelief,
    /// Its circuit is open.
    pub is_tripped: bool,
    /// A refresh has succeeded with the present settings of our client.
    pub client_works: bool,
}

/// What is known beforehand about the deaths of a provider's grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeathBelief {
    /// Nothing: their share decides.
    ByShare,
    /// They are not believed: the circuit is open for such deaths, or our client's settings have changed
    /// and no refresh has succeeded since.
    Doubt,
    /// They are believed: an operator has confirmed them.
    Trust,
}

/// Remembers a provider's latest answers and says whom one is about.
#[derive(Debug)]
pub struct AnswerWatch {
    settings: WatchSettings,
    /// Of each grant that lived or died lately, the latest: when, which, and whether it was a death.
    ends: VecDeque<(Timestamp, u64, bool)>,
    /// Of each of our clients, by its id; of None where there is one.
    clients: BTreeMap<Option<String>, ClientAnswers>,
    /// Since the last success.
    throttled: Streak,
    /// When a second look at a death found that the grant lives.
    disproved_at: Option<Timestamp>,
    /// Deaths in a row that were told to probes of an open circuit.
    dead_probes: u32,
    revive_since: Option<Timestamp>,
}

/// The grants in `ends` at most.
const MEMORY: usize = 500;
/// So many different grants refused in a row are the client's fault.
const REFUSALS: usize = 5;
/// The same where another has succeeded lately, or the refusal speaks of consent. Of grants of which every
/// second is refused, so many in a row come once in a million.
const DOUBTFUL_REFUSALS: usize = 20;
/// So many deaths in a row told to probes: the client is let in, and it is the grants that are dead.
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

    /// Takes note of what an exchange of `grant` came to, and says what that means beside the answers of
    /// others. `tenant` is the id of its client where tenants have clients of their own.
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
            // A page in the place of an answer: whatever stands there may stand there for everybody. From
            // a provider whose answers were never read it may be its way to say success.
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

    /// If it has just turned out that deaths or refusals are not the grants': the time since when what was
    /// believed is to be taken back, by whichever worker. Once.
    pub fn revive_since(&mut self) -> Option<Timestamp> {
        self.revive_since.take()
    }

    fn succeeded(&mut self, grant: &Grant, tenant: Option<&str>, now: Timestamp) {
        if grant.questioned {
            self.disproved_at = Some(now);
        }
        self.remember(stable_hash(&grant.id), now, false);
        let answers = ClientAnswers { succeeded_at: Some(now), refused: Streak::default() };
        // Pages in the place of answers are nobody's, so any success ends a run of them.
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

    /// Whether a death is believed now, or asked for again.
    fn second_look(
        &mut self,
        failure: ExchangeFailure,
        grant: &Grant,
        now: Timestamp,
        evidence: DeathEvidence,
    ) -> Outcome {
        let WatchSettings { death_recheck, window, .. } = self.settings;
        // What opened the circuit was something else, and whether all are dead an operator must say.
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

    /// Counts a refusal of this grant, and says whether so many of its client are refused that it is not the
    /// grants'.
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
        // Where nothing has ever succeeded, few grants that are refused again and again will do.
        let never = !evidence.client_works && client.refused.answers >= enough;
        // By the provider's own word, if nothing that has just succeeded speaks against it.
        let is_told = refusal == RefusalScope::Client && !succeeded_lately;
        let is_everybodys = is_told || never || client.refused.grants.len() >= enough;
        if is_everybodys {
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

/// What the grants of one of our clients were answered.
#[derive(Debug, Clone, Default)]
struct ClientAnswers {
    succeeded_at: Option<Timestamp>,
    /// Since the last success.
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
        // More are not told apart: so many are enough for anything.
        if self.grants.len() < 64 && !self.grants.contains(&who) {
            self.grants.push(who);
        }
    }
}

#[cfg(test)]
mod tests;
