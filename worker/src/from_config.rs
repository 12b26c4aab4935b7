//! Builds a worker's parts from the settings, for every program that runs one.

use std::sync::Arc;

use anyhow::Context;
use evergrant_budget::{BudgetSettings, SharedBudget};
use evergrant_ports::ProviderStates;
use evergrant_provider::{Provider, ProviderClient};
use evergrant_rescue::{AnswerJournal, FileJournal};
use evergrant_runtime::Process;
use evergrant_runtime::config::Config;
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_telemetry::ProcessMetrics;

use crate::flow::steady_clock::SteadyClock;
use crate::{ProviderDeps, RescueDeps, WorkerDeps};

/// The warning to operators who run workers without a key.
pub const NO_RESCUE_KEY: &str = "no rescue.key is set: a provider's answer is in memory only until \
     it is written, and a worker that dies in those milliseconds loses a grant. Make a key with: \
     openssl rand -base64 32";

impl WorkerDeps {
    /// A process's worker of this name, which no other has. It creates its key if necessary.
    ///
    /// # Errors
    /// If its section is wrong, the key cannot be read or created, or the journal cannot be opened.
    pub fn new(
        process: &Process,
        config: &Config,
        name: String,
        providers: Vec<ProviderDeps>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            store: process.store.clone(),
            election: process.store.clone(),
            queue: process.queue.clone(),
            providers,
            rescue: RescueDeps::open(config, &name)?,
            settings: config.section()?,
            name,
            clock: SteadyClock::default(),
            metrics: process.metrics.clone(),
            health: process.health.clone(),
            reports: ProcessReporter::default(),
        })
    }
}

impl ProviderDeps {
    /// The parts for each configured provider. Clones share a client and a budget.
    ///
    /// # Errors
    /// If a setting is wrong, or a client cannot be built.
    pub fn start_all(process: &Process, config: &Config) -> anyhow::Result<Vec<Self>> {
        let start = |provider| Self::start(provider, process.store.clone(), &process.metrics);
        config.exchanging_providers()?.into_iter().map(start).collect()
    }

    /// A client of the provider, and its budget, which is kept in `states`.
    fn start(
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
    /// Opens the safeguards of a worker of this name. If documents are in a file and no key is set,
    /// it creates a key beside the file. None without a key; the caller then logs
    /// [`NO_RESCUE_KEY`].
    fn open(config: &Config, name: &str) -> anyhow::Result<Option<Self>> {
        let rescue = match config.store.url.file() {
            Some(file) => config.rescue.create_key_beside(file)?,
            None => config.rescue.clone(),
        };
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
