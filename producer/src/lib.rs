//! The producer: finds the grants that are due and publishes one job for each.
//!
//! It is a reconciler. A `pass` takes no input but the store's present state, so a pass that was
//! lost, cut short or done twice costs time, never a token. Jobs are published first and their
//! documents marked after the broker has confirmed: a crash between the two makes duplicates, which
//! the worker's claim turns away.

mod leader;
mod left_alone;
mod metrics;
mod outlook;
mod pass;
mod progress;
mod summary;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::config::ProducerConfig;
use evergrant_shared::domain::ProviderId;
use evergrant_shared::ports::{JobQueue, QueueError, StoreError, TokenStore, Which};
use evergrant_shared::reports::Reports;
use evergrant_shared::telemetry::{Health, Metrics};

pub use outlook::{keep_outlook, outlook};
pub use progress::{NoProgress, Progress, TerminalProgress};
pub use summary::{ProviderSummary, Summary};

use leader::Candidate;
use metrics::ProducerMetrics;

/// What a producer needs.
pub struct Deps {
    /// Where documents live.
    pub store: Arc<dyn TokenStore>,
    /// How jobs travel.
    pub queue: Arc<dyn JobQueue>,
    /// The providers to serve.
    pub providers: Vec<ProviderId>,
    /// How much and how often.
    pub settings: ProducerSettings,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// Where the producer says what works.
    pub health: Health,
    /// Where it counts what operators want to know.
    pub reports: Reports,
}

/// How much a producer publishes, and how often.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// The producer's name; unique to the process.
    pub name: String,
    /// How long a producer leads unless it says that it still lives.
    pub leader_lease: Duration,
    /// The time from one search for users who have signed in again to the next.
    pub sweep_interval: Duration,
    /// The time from the start of a daemon's pass to the next.
    pub interval: Duration,
    /// Jobs that may wait in a provider's queues.
    pub max_queued: u64,
    /// Jobs published before their confirms are awaited and their documents marked.
    pub window: usize,
    /// How long a job is taken to be under way before another is made.
    pub queued_for: Duration,
}

impl ProducerSettings {
    /// Those of a producer of this name, which no other process has.
    pub fn of(config: &ProducerConfig, name: String) -> Self {
        Self {
            name,
            leader_lease: config.leader_lease,
            sweep_interval: config.sweep_interval,
            interval: config.interval,
            max_queued: config.max_queued,
            window: config.window,
            queued_for: config.queued_for,
        }
    }
}

/// What a single pass publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Which active grants. All but [`Which::Due`] are refreshed whether they are due or not.
    pub which: Which,
    /// Only count, publish nothing.
    pub dry_run: bool,
    /// Look for users who have signed in again, first.
    pub sweep: bool,
}

/// A pass that failed. What it had published and marked before stays done; the next pass goes on
/// from there.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Publishes what is due, again and again while it leads, until `shutdown` ends.
pub async fn run(deps: Deps, shutdown: impl Future<Output = ()>) {
    let metrics = ProducerMetrics::register(&deps.metrics);
    let (name, lease) = (&deps.settings.name, deps.settings.leader_lease);
    let candidate = Candidate { store: &*deps.store, name, lease };
    let serving = async {
        loop {
            candidate.elected().await;
            metrics.leads.set(1);
            deps.reports.set_leads(true);
            tokio::select! {
                biased;
                // A pass may be cut short anywhere.
                () = candidate.deposed() => {}
                () = pass_after_pass(&deps, &metrics) => {}
                () = left_alone::keep_telling(&*deps.store) => {}
            }
            metrics.leads.set(0);
            deps.reports.set_leads(false);
        }
    };
    tokio::select! {
        biased;
        () = shutdown => {}
        () = serving => {}
    }
    candidate.resign().await;
}

async fn pass_after_pass(deps: &Deps, metrics: &ProducerMetrics) {
    let mut ticks = tokio::time::interval(deps.settings.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut swept_at: Option<tokio::time::Instant> = None;
    loop {
        let began_at = ticks.tick().await;
        let sweep = swept_at.is_none_or(|at| began_at - at >= deps.settings.sweep_interval);
        let selection = Selection { which: Which::Due, dry_run: false, sweep };
        let passed = pass::pass(deps, &selection, &NoProgress).await;
        if passed.is_ok() && sweep {
            swept_at = Some(began_at);
        }
        report(deps, metrics, passed);
    }
}

/// Publishes once what `selection` wants.
///
/// # Errors
/// [`PassError`] if the store or the queue failed; what was published before stays published.
pub async fn run_once(
    deps: &Deps,
    selection: &Selection,
    progress: &dyn Progress,
) -> Result<Summary, PassError> {
    pass::pass(deps, selection, progress).await
}

fn report(deps: &Deps, metrics: &ProducerMetrics, passed: Result<Summary, PassError>) {
    deps.health.set("store", !matches!(passed, Err(PassError::Store(_))));
    deps.health.set("queue", !matches!(passed, Err(PassError::Queue(_))));
    match passed {
        Ok(summary) => {
            metrics.count(&summary);
            if summary.is_eventful() {
                tracing::info!(%summary, "pass");
            } else {
                tracing::debug!(%summary, "pass");
            }
        }
        Err(error) => {
            metrics.failed_passes.inc();
            tracing::error!(%error, "the pass failed: the next one goes on from there");
        }
    }
}
