//! A lane: one provider as this worker serves it, with the state that its jobs share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evergrant_budget::Budget;
use evergrant_domain::Lease;
use evergrant_domain::weigh::AnswerWatch;
use evergrant_ports::{LeaderElection, LeaseStore, QueueError, WorkQueue};
use evergrant_provider::{Provider, TokenEndpoint};
use evergrant_rescue::PeerJournal;
use evergrant_telemetry::HealthChecks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flow::flow_control::FlowControl;
use crate::flow::steady_clock::SteadyClock;
use crate::flow::store_limiter::StoreLimiter;
use crate::metrics::WorkerMetrics;
use crate::pipeline::committer::Committer;
use crate::pipeline::lease::LeaseRenewals;
use crate::pipeline::refused_documents::RefusedDocuments;
use crate::recovery::answer_log::AnswerLog;
use crate::{ProviderDeps, WorkerSettings};

/// One provider as this worker serves it.
pub(crate) struct Lane {
    pub(crate) provider: Arc<Provider>,
    pub(crate) endpoint: Arc<dyn TokenEndpoint>,
    pub(crate) budget: Arc<dyn Budget>,
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) election: Arc<dyn LeaderElection>,
    pub(crate) queue: Arc<dyn WorkQueue>,
    pub(crate) committer: Committer,
    pub(crate) leases: LeaseRenewals,
    /// Limits concurrent store calls; commits need permits as well.
    pub(crate) store_limiter: StoreLimiter,
    /// None without a key: an answer is then in memory only until it is written.
    pub(crate) answer_log: Option<Arc<AnswerLog>>,
    /// Allows one request at a time until one has succeeded with the present client settings.
    trial: Arc<Semaphore>,
    /// Decides whether answers are about one grant or about the client.
    pub(crate) watch: Mutex<AnswerWatch>,
    /// Documents that the store refuses to write.
    pub(crate) refused: RefusedDocuments,
    /// Limits the work under way.
    pub(crate) flow: FlowControl,
    pub(crate) name: String,
    pub(crate) clock: SteadyClock,
    pub(crate) settings: Arc<WorkerSettings>,
    pub(crate) metrics: WorkerMetrics,
    /// Jobs under way, so that a shutdown can wait for them.
    pub(crate) jobs: TaskTracker,
    /// Cancelled when the worker stops.
    pub(crate) stop: CancellationToken,
    /// Whether the warning about sealed tokens was logged. One warning is enough.
    pub(crate) has_told_of_sealed: AtomicBool,
    health: HealthChecks,
    claims: AtomicU64,
}

/// What the lanes of a worker share.
#[derive(Clone)]
pub(crate) struct LaneContext {
    pub(crate) name: String,
    pub(crate) clock: SteadyClock,
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) election: Arc<dyn LeaderElection>,
    pub(crate) queue: Arc<dyn WorkQueue>,
    pub(crate) store_limiter: StoreLimiter,
    pub(crate) answer_log: Option<Arc<AnswerLog>>,
    pub(crate) settings: Arc<WorkerSettings>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) health: HealthChecks,
    pub(crate) stop: CancellationToken,
}

/// A pause that ends within this time is waited out with claims held, so that requests go out the
/// moment it ends.
const SHORT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often to check whether a provider is still paused or stopped.
pub(crate) const PAUSE_CHECK_INTERVAL: Duration = Duration::from_millis(250);

impl Lane {
    pub(crate) fn new(deps: ProviderDeps, common: LaneContext) -> Arc<Self> {
        let LaneContext {
            name,
            clock,
            store,
            election,
            queue,
            store_limiter,
            answer_log,
            settings,
            metrics,
            health,
            stop,
        } = common;
        let flow = FlowControl::new(settings.exchanges_in_flight, deps.budget.spacing());
        let batch = usize::from(settings.batch);
        let written = &metrics.commit_groups;
        let committer = Committer::start(Arc::clone(&store), store_limiter.clone(), batch, written);
        Arc::new(Self {
            trial: Arc::new(Semaphore::new(1)),
            watch: Mutex::new(AnswerWatch::new(deps.provider.watch)),
            provider: deps.provider,
            endpoint: deps.endpoint,
            budget: deps.budget,
            leases: LeaseRenewals::start(Arc::clone(&store), settings.lease),
            store,
            election,
            queue,
            committer,
            store_limiter,
            answer_log,
            refused: RefusedDocuments::new(),
            flow,
            name,
            clock,
            settings,
            metrics,
            jobs: TaskTracker::new(),
            stop,
            health,
            claims: AtomicU64::new(0),
            has_told_of_sealed: AtomicBool::new(false),
        })
    }

    /// While the client has never succeeded, one request at a time tries it: a provider whose
    /// answers cannot be read then costs one grant only. None for a client that works.
    pub(crate) async fn trial(&self) -> Option<OwnedSemaphorePermit> {
        if self.budget.evidence().client_works {
            return None;
        }
        let trial = Arc::clone(&self.trial).acquire_owned().await.ok()?;
        (!self.budget.evidence().client_works).then_some(trial)
    }

    /// Sleeps until the time is over or the worker stops.
    pub(crate) async fn sleep(&self, wait: Duration) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// How many deliveries to prefetch.
    pub(crate) fn prefetch(&self) -> u16 {
        self.flow.prefetch(self.budget.spacing())
    }

    /// The remaining pause of the provider, if it is too long to claim anything meanwhile.
    pub(crate) fn long_pause(&self) -> Option<Duration> {
        self.budget.shut_for().filter(|pause| *pause > SHORT_PAUSE_MAX)
    }

    /// A lease owner that no other claim of any worker has.
    pub(crate) fn next_owner(&self) -> String {
        let claim = self.claims.fetch_add(1, Ordering::Relaxed);
        Lease::owner_of(&self.name, &self.provider.id, claim)
    }

    /// The state of a process's journal on this machine.
    pub(crate) fn peer_journal(&self, process: &str) -> PeerJournal {
        let journal = self.answer_log.as_ref().and_then(|answer_log| answer_log.journal.as_ref());
        journal.map_or(PeerJournal::Unknown, |journal| journal.peer_journal(process))
    }

    /// Reports whether the store answers.
    pub(crate) fn set_store_healthy(&self, works: bool) {
        self.health.set("store", works);
    }

    /// Reports whether the work queues are consumed.
    pub(crate) fn set_healthy(&self, works: bool) {
        self.health.set(&format!("queue:{}", self.provider.id), works);
    }

    /// Reports which queues cannot be consumed, while the others are.
    pub(crate) fn tell_missing(&self, missing: &[(String, QueueError)]) {
        self.set_healthy(missing.is_empty());
        let detail = missing.first().map(|(name, error)| {
            let queues = missing.len();
            format!("{queues} queues cannot be consumed, {name} among them: {error}")
        });
        self.metrics.reports.set_problem(&format!("work queues of {}", self.provider.id), detail);
    }
}

#[cfg(test)]
mod tests;
