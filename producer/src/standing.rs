//! What works and what does not, as operators are told it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use evergrant_ports::{StoreError, SweepResult};

use crate::metrics::ProducerMetrics;
use crate::{PassError, ProducerDeps, ProviderSummary};

/// What works and what does not, by log, metrics, health and the heartbeat.
pub(crate) struct ProducerStanding<'a> {
    deps: &'a ProducerDeps,
    metrics: &'a ProducerMetrics,
    /// What failed the last time, by its name.
    failures: Mutex<BTreeMap<String, PassError>>,
}

impl<'a> ProducerStanding<'a> {
    /// Nothing has failed yet.
    pub(crate) fn new(deps: &'a ProducerDeps, metrics: &'a ProducerMetrics) -> Self {
        Self { deps, metrics, failures: Mutex::default() }
    }

    /// Documents were adopted, or could not be.
    pub(crate) fn adopted(&self, adopted: Result<u64, StoreError>) {
        if let Ok(documents) = adopted {
            self.metrics.adopted.inc_by(documents);
            if documents > 0 {
                tracing::info!(documents, "adopted");
            }
        }
        self.tell("adoption".to_owned(), adopted.err().map(PassError::Store));
    }

    /// A pass of a provider was made.
    pub(crate) fn published(&self, summary: &ProviderSummary, unmarked: usize) {
        let provider = &summary.provider;
        self.metrics.published(summary, unmarked);
        if summary.is_eventful() {
            tracing::info!(%summary, "pass");
        } else {
            tracing::debug!(%summary, "pass");
        }
        let problem = (unmarked > 0).then(|| {
            format!(
                "{unmarked} documents cannot be marked as queued, so their jobs are made again after \
                 waits that double up to an hour: look at validation rules and at the size of documents"
            )
        });
        self.deps.reports.set_problem(&format!("unmarked documents of {provider}"), problem);
        self.tell(format!("passes of {provider}"), summary.failure.clone());
        self.deps.health.set(&format!("pass:{provider}"), summary.failure.is_none());
    }

    /// A part of a sweep was made.
    pub(crate) fn swept(&self, part: &Result<SweepResult, StoreError>) {
        if let Ok(SweepResult { revived: grants @ 1.., .. }) = part {
            self.metrics.revived.inc_by(*grants);
            tracing::info!(grants, "users have signed in again");
        }
        self.tell("the sweep".to_owned(), part.as_ref().err().cloned().map(PassError::Store));
    }

    /// Tells a failure, or that there is none any more. It is logged as an error once, until it changes.
    fn tell(&self, what: String, failure: Option<PassError>) {
        let detail = failure.as_ref().map(ToString::to_string);
        let is_news = self.deps.reports.set_problem(&what, detail);
        match &failure {
            Some(error) => {
                self.metrics.failed_passes.inc();
                if is_news {
                    tracing::error!(what, %error, "failed: it is tried again, the rest goes on");
                } else {
                    tracing::debug!(what, %error, "failed again");
                }
            }
            None if is_news => tracing::info!(what, "works again"),
            None => {}
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(failure) => failures.insert(what, failure),
            None => failures.remove(&what),
        };
        let away = |failure: &PassError| {
            matches!(failure, PassError::Store(StoreError::Unavailable { .. }))
        };
        let queue = failures.values().filter(|failure| matches!(failure, PassError::Queue(_)));
        let providers = self.deps.providers.len().max(1);
        self.deps.health.set("queue", queue.count() < providers);
        self.deps.health.set("store", !failures.values().any(away));
    }
}
