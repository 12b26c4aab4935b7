//! The simulator from within the process: everything that the HTTP API offers, without HTTP.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::faults::FaultRates;
use crate::ledger::{
    CheckReport, DeathCause, GrantJudgement, GrantView, LedgerDocument, LedgerSummary,
    SeedDocument, SeedError, SeedPlan, Terms, TokenState, judge, signed_in, sow,
};
use crate::provider::Provider;
use crate::requests::RequestRecord;
use crate::script::{AnswerScript, Play, ScriptError};
use crate::settings::SimulatorSettings;
use crate::settings_error::SettingsError;
use crate::stats::SimulatorStats;
use crate::sync::lock;

/// A running simulator's other end. Clones are the same simulator.
#[derive(Clone)]
pub struct SimulatorHandle {
    pub(crate) provider: Arc<Provider>,
}

/// Which dead grants come back to life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForgiveRequest {
    /// The users whose grants do. None is all.
    pub users: Option<Vec<String>>,
    /// Whether the fault rates stay as they are. Otherwise they are set to zero.
    pub keep_faults: bool,
}

/// What forgiving came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgiveResult {
    /// Grants that live again, with the tokens that were good when they died.
    pub forgiven: u64,
    /// Grants that stay dead because a client lost them by presenting an old token.
    pub still_lost: u64,
    /// Users who never had a grant.
    pub unknown_users: u64,
}

/// What revoking came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeResult {
    /// Grants that were live and now are dead.
    pub revoked: u64,
    /// Users who never had a grant.
    pub unknown_users: u64,
}

impl SimulatorHandle {
    /// How the provider behaves now.
    pub fn settings(&self) -> Arc<SimulatorSettings> {
        self.provider.settings()
    }

    /// Changes how the provider behaves from the next request on.
    pub fn change(&self, change: impl FnOnce(&mut SimulatorSettings)) -> Result<(), SettingsError> {
        let changed = self.provider.change(|settings| {
            let mut settings = settings.clone();
            change(&mut settings);
            settings.validate().map(|()| settings)
        });
        changed.map(drop)
    }

    /// Applies a JSON merge patch to the settings and answers what they are then.
    pub fn patch(&self, patch: &Value) -> Result<Arc<SimulatorSettings>, SettingsError> {
        self.provider.change(|settings| settings.patched(patch))
    }

    /// Plays another script from the next request on, and changes the settings that it names.
    ///
    /// # Errors
    /// If it contradicts itself, or its settings cannot be; then nothing has changed.
    pub fn play(&self, script: AnswerScript) -> Result<(), ScriptError> {
        script.validate()?;
        if self.provider.dialect.is_some() {
            let why = "a provider that speaks a dialect plays no script".to_owned();
            return Err(ScriptError::Contradiction(why));
        }
        self.patch(&Value::Object(script.settings.clone()))?;
        self.provider.play(Play::new(script));
        Ok(())
    }

    /// The requests that came while a script was played, in the order of their answers.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.provider.requests.all()
    }

    /// Why requests were not taken by the provider's dialect, the latest last.
    pub fn refusals(&self) -> Vec<String> {
        self.provider.refusals.all()
    }

    /// What has happened since the start or the last reset.
    pub fn stats(&self) -> SimulatorStats {
        let gate = lock(&self.provider.gate);
        SimulatorStats {
            max_in_1s: gate.largest_1s(),
            max_in_60s: gate.largest_60s(),
            grants: self.provider.ledger.len(),
            ..self.provider.counters.snapshot()
        }
    }

    /// Sets the statistics to zero. The ledger and the limits' logs stay.
    pub fn reset_stats(&self) {
        lock(&self.provider.gate).reset_maxima();
        self.provider.counters.reset();
    }

    /// Makes documents and their grants, one each time the iterator is asked.
    pub fn seed(&self, plan: SeedPlan) -> Result<SeedStream, SeedError> {
        plan.validate()?;
        Ok(SeedStream { provider: self.provider.clone(), left: plan.count, plan })
    }

    /// The user signs in (again) and gets a grant of its own, as a new document.
    pub fn sign_in(&self, user_id: &str) -> SeedDocument {
        let provider = &self.provider;
        let terms = Terms::from(&*provider.settings());
        let grant = provider.ledger.open(user_id, provider.clock.now_ms(), &terms);
        let ordinal = provider.seeded.fetch_add(1, Ordering::Relaxed);
        signed_in(&provider.codec, grant, user_id.to_owned(), provider.seed, ordinal)
    }

    /// Judges one document.
    pub fn judge(&self, document: &LedgerDocument) -> GrantJudgement {
        let provider = &self.provider;
        judge(&provider.ledger, &provider.codec, document, provider.clock.now_ms())
    }

    /// Judges documents and adds the verdicts up.
    pub fn check<'a>(
        &self,
        documents: impl IntoIterator<Item = &'a LedgerDocument>,
    ) -> CheckReport {
        let mut report = self.empty_report();
        for document in documents {
            report.add(document, self.judge(document));
        }
        report
    }

    /// A report on nothing yet.
    pub fn empty_report(&self) -> CheckReport {
        CheckReport { ledger_grants: self.provider.ledger.len(), ..CheckReport::default() }
    }

    /// All grants in sums. Looks at each.
    pub fn summary(&self) -> LedgerSummary {
        let now_ms = self.provider.clock.now_ms();
        let mut summary = LedgerSummary::default();
        self.provider.ledger.for_each(|grant| summary.add(grant, now_ms));
        summary
    }

    /// A user's grants, the latest first.
    pub fn grants_of(&self, user_id: &str) -> Vec<GrantView> {
        let ledger = &self.provider.ledger;
        let now_ms = self.provider.clock.now_ms();
        let view = |id| ledger.with(id, |grant| GrantView::from_grant(id, grant, now_ms));
        ledger.all_of(user_id).into_iter().filter_map(view).collect()
    }

    /// What a refresh token is worth now. Asking changes nothing.
    pub fn token_state(&self, refresh_token: &str) -> TokenState {
        let now_ms = self.provider.clock.now_ms();
        let id = self.provider.codec.open_refresh_token(refresh_token);
        let state = id.and_then(|id| {
            let of = |grant: &mut _| TokenState::from_grant(grant, id.number, now_ms);
            self.provider.ledger.with(id.grant, of)
        });
        state.unwrap_or(TokenState::Unknown)
    }

    /// Revokes all grants of the users.
    pub fn revoke<S: AsRef<str>>(&self, users: &[S]) -> RevokeResult {
        let ledger = &self.provider.ledger;
        let now_ms = self.provider.clock.now_ms();
        let mut revoked = RevokeResult::default();
        for user in users {
            let ids = ledger.all_of(user.as_ref());
            revoked.unknown_users += u64::from(ids.is_empty());
            for id in ids {
                let was_live = ledger.with(id, |grant| {
                    let live = grant.death(now_ms).is_none();
                    grant.kill(DeathCause::Revoked, now_ms);
                    live
                });
                revoked.revoked += u64::from(was_live == Some(true));
            }
        }
        revoked
    }

    /// Brings grants that the provider killed back to life, with the tokens that were good when
    /// they died, and ends all faults unless they are to be kept.
    pub fn forgive(&self, forgive: &ForgiveRequest) -> ForgiveResult {
        let provider = &self.provider;
        if !forgive.keep_faults {
            let clear = |settings: &SimulatorSettings| {
                let faults = FaultRates::default();
                Ok::<_, std::convert::Infallible>(SimulatorSettings { faults, ..settings.clone() })
            };
            let Ok(_) = provider.change(clear);
        }
        let (now_ms, terms) = (provider.clock.now_ms(), Terms::from(&*provider.settings()));
        let mut forgiven = ForgiveResult::default();
        let mut each = |grant: &mut crate::ledger::Grant| {
            if grant.forgive(now_ms, &terms) {
                forgiven.forgiven += 1;
            } else if grant.death(now_ms).is_some() {
                forgiven.still_lost += 1;
            }
        };
        let Some(users) = &forgive.users else {
            provider.ledger.for_each(each);
            return forgiven;
        };
        let mut unknown_users = 0;
        for user in users {
            let ids = provider.ledger.all_of(user);
            unknown_users += u64::from(ids.is_empty());
            for id in ids {
                provider.ledger.with(id, &mut each);
            }
        }
        ForgiveResult { unknown_users, ..forgiven }
    }
}

/// Documents in the making.
pub struct SeedStream {
    provider: Arc<Provider>,
    plan: SeedPlan,
    left: u32,
}

impl Iterator for SeedStream {
    type Item = SeedDocument;

    fn next(&mut self) -> Option<SeedDocument> {
        self.left = self.left.checked_sub(1)?;
        let provider = &self.provider;
        let terms = Terms::from(&*provider.settings());
        let seed = self.plan.seed.unwrap_or(provider.seed);
        let ordinal = provider.seeded.fetch_add(1, Ordering::Relaxed);
        let now_ms = provider.clock.now_ms();
        let (ledger, codec) = (&provider.ledger, &provider.codec);
        Some(sow(ledger, codec, &self.plan, seed, ordinal, now_ms, &terms))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

#[cfg(test)]
mod tests;
