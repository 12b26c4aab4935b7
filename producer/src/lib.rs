//! The producer: finds the grants that are due and publishes one job for each.
//!
//! It is a reconciler. A `pass` takes no input but the store's present state, so a pass that was
//! lost, cut short or done twice costs time, never a token. Jobs are published first and their
//! documents marked after the broker has confirmed: a crash between the two makes duplicates, which
//! the worker's claim turns away.

mod daemon;
mod leader;
mod left_alone;
mod metrics;
mod outlook;
mod pass;
mod progress;
mod publishing;
mod settings;
mod standing;
mod summary;
mod sweep;
#[cfg(test)]
mod tests;
mod unmarked;

use std::future::Future;
use std::sync::Arc;

use evergrant_domain::ProviderId;
use evergrant_ports::{
    DueSelection, DueStore, JobPublisher, LeaderElection, QueueError, StoreError,
};
use evergrant_runtime::Process;
use evergrant_runtime::config::{Config, ConfigError};
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_telemetry::{HealthChecks, ProcessMetrics};

pub use outlook::{keep_outlook, outlook};
pub use progress::{NoProgress, PassProgress, TerminalProgress};
pub use settings::ProducerSettings;
pub use summary::{PassSummary, ProviderSummary};

use leader::Candidate;
use metrics::ProducerMetrics;

/// What a producer needs.
pub struct ProducerDeps {
    /// The producer's name; unique to the process.
    pub name: String,
    /// Where documents live.
    pub store: Arc<dyn DueStore>,
    /// Which of several producers leads.
    pub election: Arc<dyn LeaderElection>,
    /// How jobs travel.
    pub queue: Arc<dyn JobPublisher>,
    /// The providers to serve.
    pub providers: Vec<ProviderId>,
    /// How much and how often.
    pub settings: ProducerSettings,
    /// Where metrics are registered.
    pub metrics: ProcessMetrics,
    /// Where the producer says what works.
    pub health: HealthChecks,
    /// Where it counts what operators want to know.
    pub reports: ProcessReporter,
}

impl ProducerDeps {
    /// The producer of a process, as the settings have it.
    ///
    /// # Errors
    /// If its section is wrong.
    pub fn new(process: &Process, config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            name: process.name.clone(),
            store: process.store.clone(),
            election: process.store.clone(),
            queue: process.queue.clone(),
            providers: config.providers.keys().cloned().collect(),
            settings: config.section()?,
            metrics: process.metrics.clone(),
            health: process.health.clone(),
            reports: ProcessReporter::default(),
        })
    }
}

/// What a single pass publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassSelection {
    /// Which active grants. All but [`DueSelection::Due`] are refreshed whether they are due or not.
    pub which: DueSelection,
    /// Only count, publish nothing.
    pub dry_run: bool,
    /// Look for users who have signed in again as well.
    pub sweep: bool,
}

/// A part of a pass that failed. What it had published and marked before stays done; the next pass goes
/// on from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Publishes what is due, again and again while it leads, until `shutdown` ends.
pub async fn run(deps: ProducerDeps, shutdown: impl Future<Output = ()>) {
    let metrics = ProducerMetrics::register(&deps.metrics);
    let (name, lease) = (&deps.name, deps.settings.leader_lease);
    let candidate = Candidate { election: &*deps.election, name, lease };
    let serving = async {
        loop {
            candidate.elected().await;
            metrics.leads.set(1);
            deps.reports.set_leads(true);
            tokio::select! {
                biased;
                // A pass may be cut short anywhere.
                () = candidate.deposed() => {}
                () = daemon::serve(&deps, &metrics) => {}
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

/// Publishes once what `selection` wants. What failed is in the summary; the rest is done.
pub async fn run_once(
    deps: &ProducerDeps,
    selection: &PassSelection,
    progress: &dyn PassProgress,
) -> PassSummary {
    pass::pass(deps, selection, progress).await
}
