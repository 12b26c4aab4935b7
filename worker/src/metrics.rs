//! The worker's metrics.

use std::time::Duration;

use evergrant_domain::statistics::ProviderCounts;
use evergrant_domain::{DeadReason, JobRoute, Outcome, ProviderId, StaleReason};
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_telemetry::{
    MetricLabels, ProcessMetrics, duration_histogram, short_duration_histogram,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// The worker's metrics.
#[derive(Clone)]
pub(crate) struct WorkerMetrics {
    outcomes: Family<MetricLabels, Counter>,
    stale: Family<MetricLabels, Counter>,
    dead: Family<MetricLabels, Counter>,
    refused_documents: Family<Worker, Gauge>,
    /// The same counts for operators.
    pub(crate) reports: ProcessReporter,
    /// Requests under way.
    in_flight: Gauge,
    /// Seconds from sending a request to its answer.
    exchange_seconds: Histogram,
    /// Seconds from an answer to its durable commit: the window in which a grant can be lost.
    pub(crate) commit_seconds: Histogram,
    /// Claim calls to the store, each for a batch of documents.
    pub(crate) claim_batches: Counter,
    /// Documents that were committed.
    pub(crate) commits: Counter,
    /// Commit calls to the store, each for a group of documents.
    pub(crate) commit_groups: Counter,
    /// Commits that did not apply because the document had changed.
    pub(crate) superseded: Counter,
    /// Answers that the journal refused.
    pub(crate) journal_failures: Counter,
    /// Answers that this worker put into the rescue queue.
    pub(crate) rescued: Counter,
    /// Documents that this worker withheld for an answer of another worker.
    pub(crate) withheld: Counter,
    pub(crate) recovered: Counter,
}

impl WorkerMetrics {
    pub(crate) fn register(metrics: &ProcessMetrics, reports: ProcessReporter) -> Self {
        Self {
            reports,
            outcomes: metrics.add("outcomes", "Exchanges by outcome", Family::default()),
            stale: metrics.add("stale_jobs", "Stale jobs by reason", Family::default()),
            dead: metrics.add("dead_letters", "Dead letters by reason", Family::default()),
            refused_documents: metrics.add(
                "refused_documents",
                "Documents that the store refuses to write, known to each worker",
                Family::default(),
            ),
            in_flight: metrics.add(
                "exchanges_in_flight",
                "Requests to providers under way",
                Gauge::default(),
            ),
            exchange_seconds: metrics.add(
                "exchange_seconds",
                "Time from a request to its answer",
                duration_histogram(),
            ),
            commit_seconds: metrics.add(
                "answer_to_commit_seconds",
                "Time from an answer to its durable commit",
                short_duration_histogram(),
            ),
            claim_batches: metrics.add(
                "claim_batches",
                "Claim calls, each for a batch of documents",
                Counter::default(),
            ),
            commits: metrics.add("commits", "Documents written", Counter::default()),
            commit_groups: metrics.add(
                "commit_groups",
                "Commit calls, each for a group of documents",
                Counter::default(),
            ),
            superseded: metrics.add(
                "superseded_commits",
                "Commits that did not apply because the document had changed",
                Counter::default(),
            ),
            journal_failures: metrics.add(
                "journal_failures",
                "Answers that the local journal refused",
                Counter::default(),
            ),
            rescued: metrics.add(
                "answers_rescued",
                "Answers put into the rescue queue because the store did not accept them",
                Counter::default(),
            ),
            withheld: metrics.add(
                "answers_withheld",
                "Answers that cannot be written yet and whose documents were withheld",
                Counter::default(),
            ),
            recovered: metrics.add(
                "answers_recovered",
                "Answers settled from the rescue queue or from a dead worker's journal",
                Counter::default(),
            ),
        }
    }

    /// Counts an exchange's outcome and the route of its job.
    pub(crate) fn count_exchange(&self, provider: &ProviderId, outcome: &Outcome, route: JobRoute) {
        self.outcomes.get_or_create(&labels(provider, outcome.name())).inc();
        let mut counts = ProviderCounts::default();
        match (outcome, route) {
            // Counted with its reason when it is written.
            (_, JobRoute::DeadLetter(_)) => return,
            (Outcome::Refreshed(_), _) => counts.refreshed = 1,
            (Outcome::Throttled(..), _) => counts.throttled = 1,
            (
                Outcome::Suspicious(_)
                | Outcome::Misconfigured(_)
                | Outcome::TenantRefused(_)
                | Outcome::Unreadable(..)
                | Outcome::Blank(_),
                _,
            ) => counts.doubted = 1,
            (
                Outcome::Transient(_)
                | Outcome::Refused(..)
                | Outcome::Ambiguous(_)
                | Outcome::TooEarly(_)
                | Outcome::Unconfirmed(..)
                | Outcome::GrantDead(_),
                _,
            ) => counts.retried = 1,
        }
        self.reports.count(provider, &counts);
    }

    /// Sets how many documents of a provider the store refuses, as this worker knows.
    pub(crate) fn set_refused(&self, provider: &ProviderId, worker: &str, documents: usize) {
        let labels = Worker { provider: provider.to_string(), worker: worker.to_owned() };
        let documents = i64::try_from(documents).unwrap_or(i64::MAX);
        self.refused_documents.get_or_create(&labels).set(documents);
    }

    /// Counts a document that cannot be used.
    pub(crate) fn count_malformed(&self, provider: &ProviderId) {
        self.outcomes.get_or_create(&labels(provider, "malformed")).inc();
    }

    /// Counts a request that is sent.
    pub(crate) fn sent(&self, provider: &ProviderId) {
        self.in_flight.inc();
        self.reports.sent(provider);
    }

    /// Counts a request that was answered or given up.
    pub(crate) fn answered(&self, provider: &ProviderId, after: Duration) {
        self.in_flight.dec();
        self.reports.answered(provider);
        self.exchange_seconds.observe(after.as_secs_f64());
    }

    pub(crate) fn count_stale(&self, provider: &ProviderId, reason: StaleReason) {
        self.stale.get_or_create(&labels(provider, reason.as_str())).inc();
    }

    pub(crate) fn count_dead(&self, provider: &ProviderId, reason: DeadReason) {
        self.dead.get_or_create(&labels(provider, reason.as_str())).inc();
        let dead = [(reason, 1)].into();
        self.reports.count(provider, &ProviderCounts { dead, ..ProviderCounts::default() });
    }
}

/// The labels of figures that each worker of a process has for itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Worker {
    provider: String,
    worker: String,
}

fn labels(provider: &ProviderId, kind: &'static str) -> MetricLabels {
    MetricLabels { provider: provider.to_string(), kind }
}
