//! A producer and workers in one process.

use std::sync::Arc;

use anyhow::Context;
use evergrant_producer::ProducerSettings;
use evergrant_shared::budget::{Budget, BudgetSettings, SharedBudget};
use evergrant_shared::config::Config;
use evergrant_shared::connect;
use evergrant_shared::domain::ProviderId;
use evergrant_shared::ports::{JobQueue, TokenStore};
use evergrant_shared::process::{self, Shutdown};
use evergrant_shared::provider::{Provider, ProviderClient, TokenEndpoint};
use evergrant_shared::rescue::{FileJournal, Journal};
use evergrant_shared::telemetry::{Health, Metrics};
use evergrant_worker::{Ended, ProviderDeps, RescueDeps, WorkerSettings};
use tokio::task::JoinSet;

/// The store and the queue.
pub(crate) struct Servers {
    pub(crate) store: Arc<dyn TokenStore>,
    pub(crate) queue: Arc<dyn JobQueue>,
}

impl Servers {
    /// Those that the two URLs mean.
    pub(crate) async fn connect(config: &Config) -> anyhow::Result<Self> {
        let store = connect::store(config).await?;
        let queue = connect::queue(config, format!("evergrant {}", process::unique_name()))?;
        Ok(Self { store, queue })
    }
}

/// A producer and workers, ready to run.
pub(crate) struct Engine {
    producer: evergrant_producer::Deps,
    workers: Vec<evergrant_worker::Deps>,
    providers: Vec<Arc<Provider>>,
    default_provider: Option<ProviderId>,
}

impl Engine {
    /// A producer and `workers` workers. What is counted is counted together, and a provider's limits
    /// are kept by all of them together.
    pub(crate) fn new(
        config: &Config,
        servers: &Servers,
        workers: usize,
        metrics: Metrics,
        health: Health,
    ) -> anyhow::Result<Self> {
        let providers = config.providers()?;
        anyhow::ensure!(
            !providers.is_empty(),
            "no provider is configured: add a section [providers.NAME], in a file that --config \
             names, or set EVERGRANT_PROVIDERS__NAME__… in the environment"
        );
        let name = process::unique_name();
        let producer = evergrant_producer::Deps {
            store: Arc::clone(&servers.store),
            queue: Arc::clone(&servers.queue),
            providers: providers.iter().map(|provider| provider.id.clone()).collect(),
            settings: producer_settings(config, name.clone()),
            metrics: metrics.clone(),
            health: health.clone(),
        };
        let served = providers.into_iter().map(|provider| Served::new(provider, &servers.store));
        let served = served.collect::<anyhow::Result<Vec<_>>>()?;
        let workers = (1..=workers.max(1)).map(|number| {
            let name = format!("{name}-{number}");
            Ok(evergrant_worker::Deps {
                store: Arc::clone(&servers.store),
                queue: Arc::clone(&servers.queue),
                providers: served.iter().map(Served::deps).collect(),
                rescue: rescue(config, &name)?,
                settings: worker_settings(config, name),
                metrics: metrics.clone(),
                health: health.clone(),
            })
        });
        Ok(Self {
            producer,
            workers: workers.collect::<anyhow::Result<_>>()?,
            providers: served.iter().map(|served| Arc::clone(&served.provider)).collect(),
            default_provider: config.default_provider(),
        })
    }

    /// What works.
    pub(crate) const fn health(&self) -> &Health {
        &self.producer.health
    }

    /// Runs until `shutdown`; then finishes what was sent, gives back the rest, and returns.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Ended {
        let (store, metrics) = (Arc::clone(&self.producer.store), self.producer.metrics.clone());
        let outlook =
            evergrant_producer::keep_outlook(store, self.providers, self.default_provider, metrics);
        let outlook = tokio::spawn(outlook);
        let producer =
            tokio::spawn(evergrant_producer::run(self.producer, shutdown.clone().wait()));
        let mut workers = JoinSet::new();
        for deps in self.workers {
            workers.spawn(evergrant_worker::run(deps, shutdown.clone().wait()));
        }
        let mut ended = Ended::Cleanly;
        while let Some(worker) = workers.join_next().await {
            if !matches!(worker, Ok(Ended::Cleanly)) {
                ended = Ended::GraceOver;
            }
        }
        // It may be cut short anywhere, and has resigned by now.
        let _ = producer.await;
        outlook.abort();
        ended
    }
}

/// A provider that all workers of this process share.
struct Served {
    provider: Arc<Provider>,
    endpoint: Arc<dyn TokenEndpoint>,
    budget: Arc<dyn Budget>,
}

impl Served {
    fn new(provider: Provider, store: &Arc<dyn TokenStore>) -> anyhow::Result<Self> {
        let provider = Arc::new(provider);
        let client = ProviderClient::new(Arc::clone(&provider)).context("start")?;
        let settings = BudgetSettings {
            provider: provider.id.clone(),
            limits: provider.limits.clone(),
            client: provider.fingerprint(),
        };
        let budget = SharedBudget::start(Arc::clone(store), settings);
        Ok(Self { provider, endpoint: Arc::new(client), budget: Arc::new(budget) })
    }

    fn deps(&self) -> ProviderDeps {
        ProviderDeps {
            provider: Arc::clone(&self.provider),
            endpoint: Arc::clone(&self.endpoint),
            budget: Arc::clone(&self.budget),
        }
    }
}

/// The nets that the settings give; without a key there are none.
fn rescue(config: &Config, name: &str) -> anyhow::Result<Option<RescueDeps>> {
    let config = &config.rescue;
    let Some(sealer) = config.sealer()? else { return Ok(None) };
    let journal = match &config.journal {
        None => None,
        Some(folder) => {
            let journal = FileJournal::open(folder, name).with_context(|| {
                format!("open a journal in rescue.journal = {}", folder.display())
            })?;
            Some(Arc::new(journal) as Arc<dyn Journal>)
        }
    };
    Ok(Some(RescueDeps { sealer, journal, after: config.after }))
}

fn producer_settings(config: &Config, name: String) -> ProducerSettings {
    let config = &config.producer;
    ProducerSettings {
        name,
        leader_lease: config.leader_lease,
        sweep_interval: config.sweep_interval,
        interval: config.interval,
        max_queued: config.max_queued,
        window: config.window,
        queued_for: config.queued_for,
    }
}

fn worker_settings(config: &Config, name: String) -> WorkerSettings {
    let config = &config.worker;
    WorkerSettings {
        name,
        exchanges_in_flight: config.exchanges_in_flight,
        batch: config.batch,
        permit_wait: config.permit_wait,
        lease: config.lease,
        shards: config.shards.clone(),
        shutdown_grace: config.shutdown_grace,
    }
}
