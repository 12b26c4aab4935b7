//! The producer's metrics.

use evergrant_telemetry::{MetricLabels, ProcessMetrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::ProviderSummary;

/// The producer's metrics.
pub(crate) struct ProducerMetrics {
    published: Family<MetricLabels, Counter>,
    unmarked: Family<MetricLabels, Gauge>,
    pub(crate) adopted: Counter,
    pub(crate) revived: Counter,
    /// 1 if this producer leads, else 0.
    pub(crate) leads: Gauge,
    /// Failed parts of passes: of a provider, adoption, the sweep.
    pub(crate) failed_passes: Counter,
}

impl ProducerMetrics {
    pub(crate) fn register(metrics: &ProcessMetrics) -> Self {
        Self {
            published: metrics.add("jobs_published", "Jobs published", Family::default()),
            unmarked: metrics.add(
                "unmarked_documents",
                "Documents that the store refuses to mark as queued",
                Family::default(),
            ),
            adopted: metrics.add("documents_adopted", "Documents adopted", Counter::default()),
            revived: metrics.add(
                "grants_revived",
                "Grants that are active again because their user has signed in again",
                Counter::default(),
            ),
            leads: metrics.add(
                "producer_leads",
                "1 if this producer leads, else 0",
                Gauge::default(),
            ),
            failed_passes: metrics.add(
                "failed_passes",
                "Parts of passes that failed: of a provider, adoption, the sweep",
                Counter::default(),
            ),
        }
    }

    /// Counts a provider's pass. `unmarked` is how many documents the store refuses to mark.
    pub(crate) fn published(&self, summary: &ProviderSummary, unmarked: usize) {
        let labels = MetricLabels { provider: summary.provider.to_string(), kind: "due" };
        self.published.get_or_create(&labels).inc_by(summary.published);
        let unmarked = i64::try_from(unmarked).unwrap_or(i64::MAX);
        self.unmarked.get_or_create(&labels).set(unmarked);
    }
}
