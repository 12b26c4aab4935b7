//! Log lines, as text for people or as JSON for machines, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

use crate::config::{ConfigError, LogFormat, TelemetryConfig};

/// Starts logging. The second call of a process does nothing.
///
/// # Errors
/// If `telemetry.log_level` is not a filter.
pub fn init_logs(config: &TelemetryConfig) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|_| {
        let reason =
            "it must be a level such as info, or a filter such as evergrant_worker=debug,info";
        ConfigError::invalid("telemetry.log_level", reason)
    })?;
    // The clients' own lines are about their protocols; ours say what they mean.
    let quiet = ["lapin=error", "mongodb=warn", "hyper=warn", "hyper_util=warn", "reqwest=warn"];
    let filter = quiet
        .iter()
        .filter_map(|line| line.parse().ok())
        .fold(filter, |filter, line| filter.add_directive(line));
    let builder = Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(
            builder.json().flatten_event(true).with_current_span(false).finish(),
        ),
    };
    drop(started);
    Ok(())
}
