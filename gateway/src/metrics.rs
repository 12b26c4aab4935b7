//! What the gateway counts.

use axum::response::Response;
use evergrant_telemetry::ProcessMetrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What an answer was, for its count: an extension of the response.
#[derive(Clone, Copy)]
pub(crate) struct AnswerOutcome(pub(crate) &'static str);

/// The gateway's metrics.
#[derive(Clone)]
pub(crate) struct GatewayMetrics {
    answers: Family<OutcomeLabel, Counter>,
}

impl GatewayMetrics {
    pub(crate) fn register(metrics: &ProcessMetrics) -> Self {
        let help = "Answers of the gateway, by what was served or why not";
        let answers = metrics.add("gateway_answers", help, Family::default());
        Self { answers }
    }

    /// Counts an answer.
    pub(crate) fn count(&self, response: &Response) {
        let outcome = response.extensions().get::<AnswerOutcome>().map_or("status", |it| it.0);
        self.answers.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
