//! A producer and workers in one process.

use std::sync::Arc;

use evergrant_domain::ProviderId;
use evergrant_domain::heartbeat::Role;
use evergrant_ports::{JobQueue, Store};
use evergrant_producer::ProducerSettings;
use evergrant_provider::Provider;
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_runtime::process::{self, Shutdown};
use evergrant_runtime::reports::{Reports, Teller};
use evergrant_telemetry::{Health, Metrics};
use evergrant_worker::{Ended, ProviderDeps, RescueDeps, WorkerSettings};
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
        let providers = config.exchanging_providers()?;
        let name = process::unique_name();
        let producer = evergrant_producer::Deps {
            store: servers.store.clone(),
            election: servers.store.clone(),
            queue: servers.queue.clone(),
            providers: providers.iter().map(|provider| provider.id.clone()).collect(),
            settings: ProducerSettings::of(&config.producer, name.clone()),
            metrics: metrics.clone(),
            health: health.clone(),
            reports: Reports::default(),
        };
        let served = providers
            .into_iter()
            .map(|provider| ProviderDeps::start(provider, servers.store.clone(), &metrics));
        let served = served.collect::<anyhow::Result<Vec<_>>>()?;
        let workers = (1..=workers.max(1)).map(|number| {
            let name = format!("{name}-{number}");
            Ok(evergrant_worker::Deps {
                store: servers.store.clone(),
                election: servers.store.clone(),
                queue: servers.queue.clone(),
                // Clones, so that all workers share one client and one budget.
                providers: served.clone(),
                rescue: RescueDeps::of(config, &name)?,
                settings: WorkerSettings::of(&config.worker, name),
                metrics: metrics.clone(),
                health: health.clone(),
                reports: Reports::default(),
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
    pub(crate) const fn health(&self) -> &Health {
        &self.producer.health
    }

    /// Whether every worker has its nets.
    pub(crate) fn has_nets(&self) -> bool {
        self.workers.iter().all(|worker| worker.rescue.is_some())
    }

    /// Runs until `shutdown`; then finishes what was sent, gives back the rest, and returns.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Ended {
        let (store, metrics) = (self.store.clone(), self.producer.metrics.clone());
        let outlook =
            evergrant_producer::keep_outlook(store, self.providers, self.default_provider, metrics);
        let outlook = tokio::spawn(outlook);
        let (reports, name) = (&self.producer.reports, self.producer.settings.name.clone());
        let mut tellers = vec![reports.start_telling(self.store.clone(), Role::Producer, name)];
        let producer =
            tokio::spawn(evergrant_producer::run(self.producer, shutdown.clone().wait()));
        let mut workers = JoinSet::new();
        for deps in self.workers {
            tellers.push(deps.reports.start_telling(
                self.store.clone(),
                Role::Worker,
                deps.settings.name.clone(),
            ));
            workers.spawn(evergrant_worker::run(deps, shutdown.clone().wait()));
        }
        let mut ended = Ended::Cleanly;
        while let Some(worker) = workers.join_next().await {
            if let Err(error) = &worker {
                tracing::error!(%error, "a worker was lost: please report it");
            }
            if !matches!(worker, Ok(Ended::Cleanly)) {
                ended = Ended::GraceOver;
            }
        }
        // It may be cut short anywhere, and has resigned by now.
        let _ = producer.await;
        outlook.abort();
        futures::future::join_all(tellers.into_iter().map(Teller::end)).await;
        ended
    }
}
