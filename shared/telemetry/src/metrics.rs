//! Metrics in the format of Prometheus.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// The labels of most metrics. Values are names from the settings and our own enums, so there are
/// few.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MetricLabels {
    /// The provider.
    pub provider: String,
    /// The kind: an outcome, a reason.
    pub kind: &'static str,
}

/// The metrics of one process. Every name begins with `evergrant_`.
#[derive(Clone)]
pub struct ProcessMetrics {
    registry: Arc<Mutex<Registry>>,
    /// What is registered, by its name.
    known: Arc<Mutex<HashMap<String, Box<dyn Any + Send>>>>,
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        let registry = Registry::with_prefix("evergrant");
        Self { registry: Arc::new(Mutex::new(registry)), known: Arc::default() }
    }
}

impl ProcessMetrics {
    /// Registers a metric and returns it. `name` is without the prefix, and without the `_total`
    /// that counters get. An existing metric is returned as it is, so that the workers of one
    /// process count together.
    pub fn add<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metric) = known.get(name).and_then(|metric| metric.downcast_ref::<M>()) {
            return metric.clone();
        }
        known.insert(name.to_owned(), Box::new(metric.clone()));
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric.clone());
        metric
    }

    /// All metrics as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

/// A histogram of durations in seconds, from 1 ms to about 30 s.
pub fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

/// A histogram of short durations in seconds, from 0.5 ms to 30 s. It is fine-grained at the
/// expected durations of a commit, so that a median of 10 ms and a 99th percentile of 50 ms are
/// bounds of buckets.
pub fn short_duration_histogram() -> Histogram {
    const MS: [f64; 24] = [
        0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0,
        150.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 30_000.0,
    ];
    Histogram::new(MS.map(|ms| ms / 1_000.0))
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;

    use super::*;

    #[test]
    fn a_metric_added_by_two_workers_is_shared() {
        let metrics = ProcessMetrics::default();
        for _ in 0..2 {
            metrics.add("commits", "Commits.", Counter::<u64>::default()).inc();
        }
        let text = metrics.render();
        assert!(text.contains("evergrant_commits_total 2"), "{text}");
        assert_eq!(text.matches("# TYPE").count(), 1, "{text}");
    }

    #[test]
    fn a_metric_is_rendered_with_its_labels() {
        let metrics = ProcessMetrics::default();
        let outcomes =
            metrics.add("outcomes", "Exchanges.", Family::<MetricLabels, Counter>::default());
        outcomes.get_or_create(&MetricLabels { provider: "p".into(), kind: "refreshed" }).inc();
        let text = metrics.render();
        let line = r#"evergrant_outcomes_total{provider="p",kind="refreshed"} 1"#;
        assert!(text.contains(line), "{text}");
    }
}
