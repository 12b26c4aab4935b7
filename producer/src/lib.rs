//! The producer finds the grants that are due and publishes one job for each.
//!
//! It is a reconciler: a `pass` has no input but the store's present state. A pass that is lost,
//! cut short or repeated costs time, never a token. Jobs are published first, and their documents
//! are marked after the broker has confirmed. A crash between the two makes duplicates, which the
//! worker's claim turns away: delivery is at-least-once.

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
    /// The producer's name, which no other process has.
    pub name: String,
    /// The store with the token documents.
    pub store: Arc<dyn DueStore>,
    /// Elects the producer that leads.
    pub election: Arc<dyn LeaderElection>,
    /// The queue for the jobs.
    pub queue: Arc<dyn JobPublisher>,
    /// The providers to serve.
    pub providers: Vec<ProviderId>,
    /// How much to publish, and how often.
    pub settings: ProducerSettings,
    /// The registry for metrics.
    pub metrics: ProcessMetrics,
    /// The health checks that the producer reports to.
    pub health: HealthChecks,
    /// The counts and problems that operators see.
    pub reports: ProcessReporter,
}

impl ProducerDeps {
    /// A process's producer with the settings in `config`.
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
    /// Which active grants. All but [`DueSelection::Due`] include grants that are not due.
    pub which: DueSelection,
    /// Only counts the jobs and publishes nothing.
    pub dry_run: bool,
    /// Also looks for users who have signed in again.
    pub sweep: bool,
}

/// Why a part of a pass failed. What it had published and marked stays done, and the next pass
/// continues from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Publishes what is due while this producer leads, until `shutdown` ends.
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
                // A pass may be interrupted at any point.
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

/// Makes one pass over what `selection` chooses. Failures are in the summary; the rest is done.
pub async fn run_once(
    deps: &ProducerDeps,
    selection: &PassSelection,
    progress: &dyn PassProgress,
) -> PassSummary {
    pass::pass(deps, selection, progress).await
}
