//! What a producer counts.

use evergrant_shared::telemetry::{Labels, Metrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::Summary;

/// What a producer counts.
pub(crate) struct ProducerMetrics {
    published: Family<Labels, Counter>,
    adopted: Counter,
    revived: Counter,
    /// 1 while this producer leads.
    pub(crate) leads: Gauge,
    /// Passes that failed.
    pub(crate) failed_passes: Counter,
}

impl ProducerMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            published: metrics.add("jobs_published", "Jobs published", Family::default()),
            adopted: metrics.add("documents_adopted", "Documents adopted", Counter::default()),
            revived: metrics.add(
                "grants_revived",
                "Grants that are active again since their user has signed in again",
                Counter::default(),
            ),
            leads: metrics.add("producer_leads", "1 while this producer leads", Gauge::default()),
            failed_passes: metrics.add("failed_passes", "Passes that failed", Counter::default()),
        }
    }

    pub(crate) fn count(&self, summary: &Summary) {
        self.adopted.inc_by(summary.adopted);
        self.revived.inc_by(summary.revived);
        for provider in &summary.providers {
            let labels = Labels { provider: provider.provider.to_string(), kind: "due" };
            self.published.get_or_create(&labels).inc_by(provider.published);
        }
    }
}
