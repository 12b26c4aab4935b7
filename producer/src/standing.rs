//! The state of the producer's loops, for operators: what works and what fails.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use evergrant_ports::{StoreError, SweepResult};

use crate::metrics::ProducerMetrics;
use crate::{PassError, ProducerDeps, ProviderSummary};

/// Reports what works and what fails to the log, metrics, health and heartbeat.
pub(crate) struct ProducerStanding<'a> {
    deps: &'a ProducerDeps,
    metrics: &'a ProducerMetrics,
    /// The last failure of each part, by its name.
    failures: Mutex<BTreeMap<String, PassError>>,
}

impl<'a> ProducerStanding<'a> {
    /// A state without failures.
    pub(crate) fn new(deps: &'a ProducerDeps, metrics: &'a ProducerMetrics) -> Self {
        Self { deps, metrics, failures: Mutex::default() }
    }

    /// Reports the end of an adoption.
    pub(crate) fn adopted(&self, adopted: Result<u64, StoreError>) {
        if let Ok(documents) = adopted {
            self.metrics.adopted.inc_by(documents);
            if documents > 0 {
                tracing::info!(documents, "documents were adopted");
            }
        }
        self.tell("adoption".to_owned(), adopted.err().map(PassError::Store));
    }

    /// Reports a provider's pass.
    pub(crate) fn published(&self, summary: &ProviderSummary, unmarked: usize) {
        let provider = &summary.provider;
        self.metrics.published(summary, unmarked);
        if summary.is_eventful() {
            tracing::info!(%summary, "a pass was made");
        } else {
            tracing::debug!(%summary, "a pass was made");
        }
        let problem = (unmarked > 0).then(|| {
            format!(
                "{unmarked} documents cannot be marked as queued, so their jobs are published again after \
                 waits that double up to an hour: check validation rules and the size of the documents"
            )
        });
        self.deps.reports.set_problem(&format!("unmarked documents of {provider}"), problem);
        self.tell(format!("passes of {provider}"), summary.failure.clone());
        self.deps.health.set(&format!("pass:{provider}"), summary.failure.is_none());
    }

    /// Reports a part of a sweep.
    pub(crate) fn swept(&self, part: &Result<SweepResult, StoreError>) {
        if let Ok(SweepResult { revived: grants @ 1.., .. }) = part {
            self.metrics.revived.inc_by(*grants);
            tracing::info!(grants, "users have signed in again");
        }
        self.tell("the sweep".to_owned(), part.as_ref().err().cloned().map(PassError::Store));
    }

    /// Reports a failure, or its end. A failure is logged as an error once, until it changes.
    fn tell(&self, what: String, failure: Option<PassError>) {
        let detail = failure.as_ref().map(ToString::to_string);
        let is_news = self.deps.reports.set_problem(&what, detail);
        match &failure {
            Some(error) => {
                self.metrics.failed_passes.inc();
                if is_news {
                    tracing::error!(what, %error, "a part of the producer failed: trying again, the rest continues");
                } else {
                    tracing::debug!(what, %error, "a part of the producer failed again");
                }
            }
            None if is_news => tracing::info!(what, "a part of the producer works again"),
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
