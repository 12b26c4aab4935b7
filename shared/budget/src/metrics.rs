//! The budget's metrics.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use evergrant_domain::ProviderId;
use evergrant_telemetry::{MetricLabels, ProcessMetrics, duration_histogram};

/// The budget's metrics.
#[derive(Clone)]
pub(super) struct BudgetMetrics {
    /// Seconds from the read of a provider's state to its conditional write.
    reservation_seconds: Histogram,
    missed: Family<MetricLabels, Counter>,
}

impl BudgetMetrics {
    pub(super) fn register(metrics: &ProcessMetrics) -> Self {
        Self {
            reservation_seconds: metrics.add(
                "reservation_seconds",
                "Time of a reservation in a provider's budget",
                duration_histogram(),
            ),
            missed: metrics.add(
                "missed_requests",
                "Slots that passed before their reservation was in the store",
                Family::default(),
            ),
        }
    }

    /// Counts a reservation of this duration, because of which `missed` slots could not be used.
    pub(super) fn reserved(&self, provider: &ProviderId, took: Duration, missed: u64) {
        self.reservation_seconds.observe(took.as_secs_f64());
        if missed > 0 {
            let labels = MetricLabels { provider: provider.to_string(), kind: "slow_store" };
            self.missed.get_or_create(&labels).inc_by(missed);
        }
    }
}
