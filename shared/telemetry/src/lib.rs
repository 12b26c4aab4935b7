#![doc = include_str!("../README.md")]

mod http;
mod logs;
mod metrics;
mod settings;

pub use http::{HealthChecks, HttpError, serve};
pub use logs::init_logs;
pub use metrics::{MetricLabels, ProcessMetrics, duration_histogram, short_duration_histogram};
pub use settings::{ListenSettings, LogFormat, TelemetrySettings};
