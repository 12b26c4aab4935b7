//! Log lines, as text for people or as JSON for machines, on standard error.

use std::fmt::{self, Debug};
use std::io::IsTerminal;

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::Subscriber;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use evergrant_domain::printable::printable;
use evergrant_settings::ConfigError;

use crate::{LogFormat, TelemetrySettings};

/// Starts logging. The second call of a process does nothing.
///
/// # Errors
/// If `telemetry.log_level` is not a filter.
pub fn init_logs(config: &TelemetrySettings) -> Result<(), ConfigError> {
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
        LogFormat::Text => {
            let lines = builder.fmt_fields(debug_fn(write_field).delimited(" "));
            tracing::subscriber::set_global_default(lines.finish())
        }
        LogFormat::Json => tracing::subscriber::set_global_default(
            builder.json().flatten_event(true).with_current_span(false).finish(),
        ),
    };
    drop(started);
    Ok(())
}

/// A field of a line of text. What others chose, such as an `_id`, can neither end the line nor begin one.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let text = printable(&format!("{value:?}"));
    match field.name() {
        "message" => writer.write_str(&text),
        // Where a line of a library that logs in another way comes from.
        name if name.starts_with("log.") => Ok(()),
        name => write!(writer, "{name}={text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            io::Write::write(&mut *self.0.lock().unwrap(), bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_id_with_a_line_break_begins_no_line_of_its_own() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = Subscriber::builder()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .finish();
        let id = "mallory\n2026-11-28T09:00:00Z  INFO logged in user=alice\u{202e}";
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("job", %id);
            span.in_scope(|| tracing::info!(%id, attempts = 3, who = "ann", "not refreshed"));
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(written.contains("not refreshed id=mallory\\u{a}2026"), "{written}");
        assert!(written.contains("attempts=3 who=\"ann\""), "{written}");
    }
}
