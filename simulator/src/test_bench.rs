//! A provider without HTTP, its clock, and a client of it.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::ManualClock;
use crate::config::SimulatorConfig;
use crate::faults::FaultRates;
use crate::handle::SimulatorHandle;
use crate::ledger::{GrantVerdict, LedgerDocument, SeedDocument, SeedPlan, TokenState};
use crate::provider::{Answer, Delivery, Provider, RawRequest};
use crate::settings::SimulatorSettings;

const START_MS: u64 = 1_700_000_000_000;

pub(crate) struct Bench {
    pub(crate) handle: SimulatorHandle,
    pub(crate) clock: ManualClock,
}

impl Bench {
    pub(crate) fn new(settings: SimulatorSettings) -> Self {
        let clock = ManualClock::at_ms(START_MS);
        let config =
            SimulatorConfig { settings, client_secret: "s".into(), ..SimulatorConfig::default() };
        let provider = Provider::new(config, Arc::new(clock.clone()));
        Self { handle: SimulatorHandle { provider: Arc::new(provider) }, clock }
    }

    pub(crate) fn strict() -> Self {
        Self::new(SimulatorSettings::default())
    }

    pub(crate) fn with_grace(grace_s: u64) -> Self {
        Self::new(SimulatorSettings { grace_s, ..SimulatorSettings::default() })
    }

    pub(crate) fn with_faults(faults: FaultRates) -> Self {
        Self::new(SimulatorSettings { faults, ..SimulatorSettings::default() })
    }

    /// The document of a user who has just signed in.
    pub(crate) fn sign_in(&self, user: &str) -> LedgerDocument {
        stored(&self.handle.sign_in(user))
    }

    /// The refresh token of a user who has just signed in.
    pub(crate) fn token(&self, user: &str) -> String {
        self.sign_in(user).refresh_token.as_str().unwrap().to_owned()
    }

    pub(crate) fn seed(&self, plan: SeedPlan) -> Vec<LedgerDocument> {
        self.handle.seed(plan).unwrap().map(|document| stored(&document)).collect()
    }

    /// The provider's answer to a refresh token.
    pub(crate) fn refresh(&self, token: &str) -> Answer {
        let body = format!(
            "grant_type=refresh_token&refresh_token={token}&client_id=evergrant&client_secret=s"
        );
        self.handle.provider.answer(RawRequest::post(
            &[("content-type", "application/x-www-form-urlencoded")],
            body.as_bytes(),
        ))
    }

    /// What the document becomes by an exchange, or None if there is no new token.
    pub(crate) fn refreshed(&self, document: &LedgerDocument) -> Option<LedgerDocument> {
        let answer = self.refresh(document.refresh_token.as_str()?);
        let Delivery::Reply(reply) = answer.delivery else {
            return None;
        };
        let reply: Value = serde_json::from_slice(&reply.body).unwrap();
        let refresh_token = reply.get("refresh_token")?.clone();
        Some(LedgerDocument { refresh_token, ..document.clone() })
    }

    pub(crate) fn state(&self, token: &str) -> TokenState {
        self.handle.token_state(token)
    }

    pub(crate) fn verdict(&self, document: &LedgerDocument) -> GrantVerdict {
        self.handle.judge(document).verdict
    }
}

fn stored(document: &SeedDocument) -> LedgerDocument {
    LedgerDocument::from_json(&serde_json::to_vec(document).unwrap()).unwrap()
}
