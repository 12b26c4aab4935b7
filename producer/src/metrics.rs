//! What a producer counts.

use evergrant_telemetry::{MetricLabels, ProcessMetrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::ProviderSummary;

/// What a producer counts.
pub(crate) struct ProducerMetrics {
    published: Family<MetricLabels, Counter>,
    unmarked: Family<MetricLabels, Gauge>,
    pub(crate) adopted: Counter,
    pub(crate) revived: Counter,
    /// 1 while this producer leads.
    pub(crate) leads: Gauge,
    /// Parts of passes that failed: of a provider, adoption, the sweep.
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
                "Grants that are active again since their user has signed in again",
                Counter::default(),
            ),
            leads: metrics.add("producer_leads", "1 while this producer leads", Gauge::default()),
            failed_passes: metrics.add(
                "failed_passes",
                "Parts of passes that failed: of a provider, adoption, the sweep",
                Counter::default(),
            ),
        }
    }

    /// A provider's part of a pass was made; the store refuses to mark so many of its documents.
    pub(crate) fn published(&self, summary: &ProviderSummary, unmarked: usize) {
        let labels = MetricLabels { provider: summary.provider.to_string(), kind: "due" };
        self.published.get_or_create(&labels).inc_by(summary.published);
        let unmarked = i64::try_from(unmarked).unwrap_or(i64::MAX);
        self.unmarked.get_or_create(&labels).set(unmarked);
    }
}
