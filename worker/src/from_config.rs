//! What a worker is made of, as the settings have it: for every program that runs one.

use std::sync::Arc;

use anyhow::Context;
use evergrant_budget::{BudgetSettings, SharedBudget};
use evergrant_ports::ProviderStates;
use evergrant_provider::{Provider, ProviderClient};
use evergrant_rescue::{AnswerJournal, FileJournal};
use evergrant_runtime::config::{Config, WorkerConfig};
use evergrant_telemetry::ProcessMetrics;

use crate::flow::steady_clock::SteadyClock;
use crate::{ProviderDeps, RescueDeps, WorkerSettings};

/// What an operator must know who runs workers without a key.
pub const NO_RESCUE_KEY: &str = "no rescue.key is set: a provider's answer is in memory only until \
     it is written, and a worker that dies in those milliseconds loses a grant. Make a key with: \
     openssl rand -base64 32";

impl WorkerSettings {
    /// Those of a worker of this name, which no other process has.
    pub fn from_config(config: &WorkerConfig, name: String) -> Self {
        Self {
            name,
            exchanges_in_flight: config.exchanges_in_flight,
            batch: config.batch,
            permit_wait: config.permit_wait,
            lease: config.lease,
            shards: config.shards.clone(),
            shutdown_grace: config.shutdown_grace,
            clock: SteadyClock::default(),
        }
    }
}

impl ProviderDeps {
    /// A client of the provider, and its budget, which is kept in `states` from now on. Clones share
    /// both.
    ///
    /// # Errors
    /// If there can be no client.
    pub fn start(
        provider: Provider,
        states: Arc<dyn ProviderStates>,
        metrics: &ProcessMetrics,
    ) -> anyhow::Result<Self> {
        let provider = Arc::new(provider);
        let client = ProviderClient::new(Arc::clone(&provider)).context("start")?;
        let settings = BudgetSettings {
            provider: provider.id.clone(),
            limits: provider.limits.clone(),
            client: provider.fingerprint(),
            metrics: metrics.clone(),
        };
        let budget = SharedBudget::start(states, settings);
        Ok(Self { provider, endpoint: Arc::new(client), budget: Arc::new(budget) })
    }
}

impl RescueDeps {
    /// The safeguards of a worker of this name; None without a key, and then [`NO_RESCUE_KEY`] is to be
    /// said.
    ///
    /// # Errors
    /// If the key cannot be read, or there can be no journal.
    pub fn from_config(config: &Config, name: &str) -> anyhow::Result<Option<Self>> {
        let rescue = config.worker_rescue()?;
        let Some(sealer) = rescue.sealer()? else { return Ok(None) };
        let journal = match &rescue.journal {
            None => None,
            Some(folder) => {
                let journal = FileJournal::open(folder, name).with_context(|| {
                    format!("open a journal in rescue.journal = {}", folder.display())
                })?;
                Some(Arc::new(journal) as Arc<dyn AnswerJournal>)
            }
        };
        Ok(Some(Self { sealer, journal, after: rescue.after }))
    }
}
