//! The worker: takes jobs from the queue and refreshes grants.
//!
//! Each provider has a `lane` of its own, so that a paused or broken provider does not affect the
//! others. A job passes these steps:
//!
//! ```text
//! intake → claim (a batch under a lease) → permit → exchange → commit (in groups) → route → ack
//! ```
//!
//! `pipeline` has these steps, `recovery` the safeguards of an answer that is not committed yet,
//! `flow` the limits (backpressure).
//!
//! Every decision is a function of [`evergrant_domain`]. This crate executes decisions in an order
//! that loses nothing: the document is written before the job is routed, and the job is routed
//! before its delivery is acknowledged.

#[cfg(test)]
mod fakes;
mod flow;
mod from_config;
mod lane;
mod metrics;
mod on_demand;
mod pipeline;
mod recovery;
mod settings;
mod supervisor;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use evergrant_budget::Budget;
use evergrant_ports::{LeaderElection, LeaseStore, WorkQueue};
use evergrant_provider::{Provider, TokenEndpoint};
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_telemetry::{HealthChecks, ProcessMetrics};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::flow::steady_clock::{SteadyClock, SteadyTime};
use crate::flow::store_limiter::StoreLimiter;
pub use crate::from_config::NO_RESCUE_KEY;
use crate::lane::{Lane, LaneContext};
use crate::metrics::WorkerMetrics;
pub use crate::on_demand::{OnDemandRefresher, OnDemandResult};
use crate::recovery::answer_log::AnswerLog;
pub use crate::recovery::answer_log::RescueDeps;
use crate::recovery::answer_recovery::AnswerRecovery;
use crate::recovery::orphaned_answer::AnswerCommits;
use crate::recovery::recovered_answers::RecoveredAnswers;
pub use crate::settings::WorkerSettings;

/// What a worker needs.
pub struct WorkerDeps {
    /// The worker's name in leases and dead letters, which no other process has.
    pub name: String,
    /// The clock that shows whether the machine was suspended.
    pub clock: SteadyClock,
    /// The store with the token documents.
    pub store: Arc<dyn LeaseStore>,
    /// Elects the worker that writes the dead letter of a refused document.
    pub election: Arc<dyn LeaderElection>,
    /// The queue for the jobs.
    pub queue: Arc<dyn WorkQueue>,
    /// The providers to serve.
    pub providers: Vec<ProviderDeps>,
    /// The safeguards of answers that are not committed yet; None without a key.
    pub rescue: Option<RescueDeps>,
    /// How much to do at once, and the time limits.
    pub settings: WorkerSettings,
    /// The registry for metrics.
    pub metrics: ProcessMetrics,
    /// The health checks that the worker reports to.
    pub health: HealthChecks,
    /// The counts and problems that operators see.
    pub reports: ProcessReporter,
}

/// What a worker needs to serve one provider.
#[derive(Clone)]
pub struct ProviderDeps {
    /// The provider.
    pub provider: Arc<Provider>,
    /// Its token endpoint.
    pub endpoint: Arc<dyn TokenEndpoint>,
    /// Decides when a request may be sent.
    pub budget: Arc<dyn Budget>,
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// What was sent is committed; the rest is released.
    Cleanly,
    /// The time limit ended before everything was finished.
    GraceOver,
}

/// The lanes of a worker and what they share, before anything is consumed.
struct WorkerCore {
    lanes: Vec<Arc<Lane>>,
    /// None without a key.
    recovery: Option<Arc<AnswerRecovery>>,
    settings: Arc<WorkerSettings>,
    stop: CancellationToken,
}

impl WorkerCore {
    fn start(deps: WorkerDeps) -> Self {
        let stop = CancellationToken::new();
        let metrics = WorkerMetrics::register(&deps.metrics, deps.reports);
        metrics.reports.serve(deps.providers.iter().map(|deps| &deps.provider.id));
        let settings = Arc::new(deps.settings);
        let answer_log = deps.rescue.map(|rescue| {
            let RescueDeps { sealer, journal, after } = rescue;
            let (queue, metrics) = (Arc::clone(&deps.queue), metrics.clone());
            let recovered = RecoveredAnswers::default();
            Arc::new(AnswerLog { sealer, journal, after, queue, metrics, recovered })
        });
        let store_limiter = StoreLimiter::new();
        let following = store_limiter.clone().follow(metrics.reports.workers());
        tokio::spawn(stop.clone().run_until_cancelled_owned(following));
        let recovery = answer_log.as_ref().map(|answer_log| {
            let commits = AnswerCommits {
                answer_log: Arc::clone(answer_log),
                store: Arc::clone(&deps.store),
                name: deps.name.clone(),
                providers: deps.providers.iter().map(|deps| Arc::clone(&deps.provider)).collect(),
                stop: stop.clone(),
                tasks: TaskTracker::new(),
            };
            Arc::new(AnswerRecovery::new(commits, store_limiter.clone()))
        });
        let common = LaneContext {
            name: deps.name,
            clock: deps.clock,
            store: deps.store,
            election: deps.election,
            queue: deps.queue,
            store_limiter,
            answer_log,
            settings: Arc::clone(&settings),
            metrics,
            health: deps.health,
            stop: stop.clone(),
        };
        let lane = |provider| Lane::new(provider, common.clone());
        let lanes = deps.providers.into_iter().map(lane).collect();
        Self { lanes, recovery, settings, stop }
    }
}

/// Serves all providers until `shutdown` ends. Then it finishes what was sent, releases the rest,
/// and returns.
pub async fn run(deps: WorkerDeps, shutdown: impl Future<Output = ()>) -> WorkerEnd {
    let WorkerCore { lanes, recovery, settings, stop } = WorkerCore::start(deps);
    let (mut tasks, mut running) = (JoinSet::new(), HashMap::new());
    if let Some(recovery) = recovery {
        running.insert(tasks.spawn(recovery.run()).id(), "rescued answers".to_owned());
    }
    for lane in lanes {
        let name = lane.provider.id.to_string();
        running.insert(tasks.spawn(lane.run()).id(), name);
    }
    shutdown.await;
    tracing::info!("stopping: finishing the requests that were sent");
    stop.cancel();
    let finished = async {
        while let Some(ended) = tasks.join_next_with_id().await {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            running.remove(&id);
        }
    };
    match tokio::time::timeout(settings.shutdown_grace, finished).await {
        Ok(()) => WorkerEnd::Cleanly,
        Err(_) => {
            let unfinished = running.into_values().collect::<Vec<_>>().join(", ");
            tracing::error!(
                unfinished,
                "stopped before all jobs were done: worker.shutdown_grace is over. What was answered is in \
                 the journal or the rescue queue, if there are any; the rest comes again when its \
                 leases run out. If this happens often, raise worker.shutdown_grace"
            );
            WorkerEnd::GraceOver
        }
    }
}
