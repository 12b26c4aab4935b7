//! The daemon: adoption, the passes of each provider and the sweep, each by itself, so that none waits for
//! another that is slow or broken.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use evergrant_shared::domain::ProviderId;
use evergrant_shared::ports::{Revived, StoreError, Which};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::metrics::ProducerMetrics;
use crate::publishing::Publishing;
use crate::sweep::keep_sweeping;
use crate::unmarked::Unmarked;
use crate::{Deps, NoProgress, PassError, ProviderSummary, Selection};

/// Publishes what is due, again and again, for ever.
pub(crate) async fn serve(deps: &Deps, metrics: &ProducerMetrics) {
    let standing = Standing { deps, metrics, failures: Mutex::default() };
    let rounds = watch::Sender::new(());
    let passes = deps.providers.iter().map(|provider| {
        // Subscribed before the first round begins.
        keep_publishing(deps, &standing, provider, rounds.subscribe())
    });
    let passes = join_all(passes.collect::<Vec<_>>());
    tokio::join!(keep_adopting(deps, &standing, &rounds), passes, keep_sweeping(deps, &standing));
}

/// Adopts, and then begins a round of passes. However long that takes, what is adopted gets its jobs.
async fn keep_adopting(deps: &Deps, standing: &Standing<'_>, rounds: &watch::Sender<()>) {
    let interval = deps.settings.interval;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut adopting = deps.store.adopt();
        let adopted = loop {
            match tokio::time::timeout(interval, &mut adopting).await {
                Ok(adopted) => break adopted,
                Err(_) => rounds.send_replace(()),
            }
        };
        standing.adopted(adopted);
        rounds.send_replace(());
    }
}

/// Makes one provider's part of each round. One that is slow leaves rounds out.
async fn keep_publishing(
    deps: &Deps,
    standing: &Standing<'_>,
    provider: &ProviderId,
    mut rounds: watch::Receiver<()>,
) {
    let selection = Selection { which: Which::Due, dry_run: false, sweep: false };
    let unmarked = Unmarked::new();
    while rounds.changed().await.is_ok() {
        let publishing = Publishing {
            deps,
            selection: &selection,
            progress: &NoProgress,
            provider,
            unmarked: &unmarked,
        };
        let summary = publishing.run().await;
        standing.published(&summary, unmarked.len());
    }
}

/// What works and what does not, as operators are told it: by log, metrics, health and the heartbeat.
pub(crate) struct Standing<'a> {
    deps: &'a Deps,
    metrics: &'a ProducerMetrics,
    /// What failed the last time, by its name.
    failures: Mutex<BTreeMap<String, PassError>>,
}

impl Standing<'_> {
    fn adopted(&self, adopted: Result<u64, StoreError>) {
        if let Ok(documents) = adopted {
            self.metrics.adopted.inc_by(documents);
            if documents > 0 {
                tracing::info!(documents, "adopted");
            }
        }
        self.tell("adoption".to_owned(), adopted.err().map(PassError::Store));
    }

    fn published(&self, summary: &ProviderSummary, unmarked: usize) {
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
    pub(crate) fn swept(&self, part: &Result<Revived, StoreError>) {
        if let Ok(Revived { revived: grants @ 1.., .. }) = part {
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
