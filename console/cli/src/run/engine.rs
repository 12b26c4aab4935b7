//! A producer and workers in one process.

use std::sync::Arc;

use evergrant_domain::ProviderId;
use evergrant_domain::heartbeat::ProcessRole;
use evergrant_ports::{JobQueue, Store};
use evergrant_producer::ProducerSettings;
use evergrant_provider::Provider;
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_runtime::process::{self, ShutdownSignal};
use evergrant_runtime::process_reporter::{ProcessReporter, ReporterTask};
use evergrant_telemetry::{HealthChecks, ProcessMetrics};
use evergrant_worker::{ProviderDeps, RescueDeps, WorkerEnd, WorkerSettings};
use tokio::task::JoinSet;

/// The store and the queue.
pub(crate) struct Servers {
    pub(crate) store: Arc<dyn Store>,
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
    store: Arc<dyn Store>,
    producer: evergrant_producer::ProducerDeps,
    workers: Vec<evergrant_worker::WorkerDeps>,
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
        metrics: ProcessMetrics,
        health: HealthChecks,
    ) -> anyhow::Result<Self> {
        let providers = config.exchanging_providers()?;
        let name = process::unique_name();
        let producer = evergrant_producer::ProducerDeps {
            store: servers.store.clone(),
            election: servers.store.clone(),
            queue: servers.queue.clone(),
            providers: providers.iter().map(|provider| provider.id.clone()).collect(),
            settings: ProducerSettings::from_config(&config.producer, name.clone()),
            metrics: metrics.clone(),
            health: health.clone(),
            reports: ProcessReporter::default(),
        };
        let served = providers
            .into_iter()
            .map(|provider| ProviderDeps::start(provider, servers.store.clone(), &metrics));
        let served = served.collect::<anyhow::Result<Vec<_>>>()?;
        let workers = (1..=workers.max(1)).map(|number| {
            let name = format!("{name}-{number}");
            Ok(evergrant_worker::WorkerDeps {
                store: servers.store.clone(),
                election: servers.store.clone(),
                queue: servers.queue.clone(),
                // Clones, so that all workers share one client and one budget.
                providers: served.clone(),
                rescue: RescueDeps::from_config(config, &name)?,
                settings: WorkerSettings::from_config(&config.worker, name),
                metrics: metrics.clone(),
                health: health.clone(),
                reports: ProcessReporter::default(),
            })
        });
        Ok(Self {
            store: servers.store.clone(),
            producer,
            workers: workers.collect::<anyhow::Result<_>>()?,
            providers: served.iter().map(|served| Arc::clone(&served.provider)).collect(),
            default_provider: config.default_provider(),
        })
    }

    /// What works.
    pub(crate) const fn health(&self) -> &HealthChecks {
        &self.producer.health
    }

    /// Whether every worker has its nets.
    pub(crate) fn has_nets(&self) -> bool {
        self.workers.iter().all(|worker| worker.rescue.is_some())
    }

    /// Runs until `shutdown`; then finishes what was sent, gives back the rest, and returns.
    pub(crate) async fn run(self, shutdown: ShutdownSignal) -> WorkerEnd {
        let (store, metrics) = (self.store.clone(), self.producer.metrics.clone());
        let outlook =
            evergrant_producer::keep_outlook(store, self.providers, self.default_provider, metrics);
        let outlook = tokio::spawn(outlook);
        let (reports, name) = (&self.producer.reports, self.producer.settings.name.clone());
        let mut tellers =
            vec![reports.start_telling(self.store.clone(), ProcessRole::Producer, name)];
        let producer =
            tokio::spawn(evergrant_producer::run(self.producer, shutdown.clone().wait()));
        let mut workers = JoinSet::new();
        for deps in self.workers {
            tellers.push(deps.reports.start_telling(
                self.store.clone(),
                ProcessRole::Worker,
                deps.settings.name.clone(),
            ));
            workers.spawn(evergrant_worker::run(deps, shutdown.clone().wait()));
        }
        let mut ended = WorkerEnd::Cleanly;
        while let Some(worker) = workers.join_next().await {
            if let Err(error) = &worker {
                tracing::error!(%error, "a worker was lost: please report it");
            }
            if !matches!(worker, Ok(WorkerEnd::Cleanly)) {
                ended = WorkerEnd::GraceOver;
            }
        }
        // It may be cut short anywhere, and has resigned by now.
        let _ = producer.await;
        outlook.abort();
        futures::future::join_all(tellers.into_iter().map(ReporterTask::end)).await;
        ended
    }
}
