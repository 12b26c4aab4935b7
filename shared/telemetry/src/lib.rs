//! Logs, metrics and health.
//!
//! What a log line carries: what happened, the provider, the document's `_id`, counts and reasons.
//! What it never carries: a token, a client secret, a URL with a password, the body of a message
//! or of an answer.

mod http;
mod logs;
mod metrics;
mod settings;

pub use http::{HealthChecks, HttpError, serve};
pub use logs::init_logs;
pub use metrics::{MetricLabels, ProcessMetrics, duration_histogram, short_duration_histogram};
pub use settings::{ListenSettings, LogFormat, TelemetryConfig};
