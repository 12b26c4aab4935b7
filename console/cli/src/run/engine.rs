//! A producer and workers in one process.

use std::sync::Arc;

use evergrant_domain::ProviderId;
use evergrant_domain::heartbeat::ProcessRole;
use evergrant_gateway::GatewayServer;
use evergrant_ports::Store;
use evergrant_producer::ProducerDeps;
use evergrant_provider::Provider;
use evergrant_runtime::Process;
use evergrant_runtime::config::Config;
use evergrant_runtime::process::ShutdownSignal;
use evergrant_runtime::process_reporter::ReporterTask;
use evergrant_worker::{ProviderDeps, WorkerDeps, WorkerEnd};
use tokio::task::JoinSet;

/// A producer and workers, ready to run.
pub(crate) struct Engine {
    store: Arc<dyn Store>,
    producer: ProducerDeps,
    workers: Vec<WorkerDeps>,
    gateway: Option<GatewayServer>,
    providers: Vec<Arc<Provider>>,
    default_provider: Option<ProviderId>,
}

impl Engine {
    /// A producer, `workers` workers, and the gateway if it is on. What is counted is counted together, and a
    /// provider's limits are kept by all of them together.
    pub(crate) async fn new(
        config: &Config,
        process: &Process,
        workers: u16,
    ) -> anyhow::Result<Self> {
        let served = ProviderDeps::start_all(process, config)?;
        let workers = (1..=workers.max(1)).map(|number| {
            // Clones, so that all workers share one client and one budget.
            WorkerDeps::new(process, config, format!("{}-{number}", process.name), served.clone())
        });
        Ok(Self {
            store: process.store.clone(),
            producer: ProducerDeps::new(process, config)?,
            workers: workers.collect::<anyhow::Result<_>>()?,
            gateway: GatewayServer::listen(process, config, served.clone()).await?,
            providers: served.iter().map(|served| Arc::clone(&served.provider)).collect(),
            default_provider: config.default_provider(),
        })
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
        let (reports, name) = (&self.producer.reports, self.producer.name.clone());
        let mut tellers =
            vec![reports.start_telling(self.store.clone(), ProcessRole::Producer, name)];
        let producer =
            tokio::spawn(evergrant_producer::run(self.producer, shutdown.clone().wait()));
        let mut workers = JoinSet::new();
        for deps in self.workers {
            tellers.push(deps.reports.start_telling(
                self.store.clone(),
                ProcessRole::Worker,
                deps.name.clone(),
            ));
            workers.spawn(evergrant_worker::run(deps, shutdown.clone().wait()));
        }
        if let Some(gateway) = self.gateway {
            workers.spawn(gateway.serve(shutdown.clone().wait()));
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
