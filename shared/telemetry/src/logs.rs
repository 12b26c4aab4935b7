//! Log lines, as text for people or as JSON for machines, on standard error.

use std::fmt::{self, Debug};
use std::io::IsTerminal;

use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

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
    // The clients' own lines are about their protocols; our errors say what they mean.
    let quiet = ["lapin=error", "mongodb=warn", "hyper=warn", "hyper_util=warn", "reqwest=warn"];
    let filter = quiet
        .iter()
        .filter_map(|line| line.parse().ok())
        .fold(filter, |filter, line| filter.add_directive(line));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match config.log_format {
        LogFormat::Text => {
            let lines = builder.fmt_fields(debug_fn(write_field).delimited(" "));
            tracing::subscriber::set_global_default(lines.finish())
        }
        LogFormat::Json => {
            let lines = builder.json().flatten_event(true);
            let lines = lines.with_current_span(false).with_span_list(false);
            tracing::subscriber::set_global_default(lines.map_event_format(WithSpanFields).finish())
        }
    };
    drop(started);
    Ok(())
}

/// Adds the fields of spans to a line of JSON, beside its own fields. So a query finds all lines of
/// a provider or a document by one name.
struct WithSpanFields<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithSpanFields<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        writer.write_str(line.strip_suffix('}').unwrap_or(line))?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |span| &span.fields);
            let fields = fields.strip_prefix('{').and_then(|fields| fields.strip_suffix('}'));
            if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
                write!(writer, ",{fields}")?;
            }
        }
        writer.write_str("}\n")
    }
}

/// Writes a field of a line of text. Untrusted values, such as an `_id`, can neither end the line
/// nor begin one.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let text = printable(&format!("{value:?}"));
    match field.name() {
        "message" => writer.write_str(&text),
        // The origin of a line from a library that uses the `log` crate.
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
    fn an_id_with_a_line_break_begins_no_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .finish();
        let id = "mallory\n2026-11-28T09:00:00Z  INFO logged in user=alice\u{202e}";
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("job", %id);
            span.in_scope(
                || tracing::info!(%id, attempts = 3, who = "ann", "token refresh failed"),
            );
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(written.contains("token refresh failed id=mallory\\u{a}2026"), "{written}");
        assert!(written.contains("attempts=3 who=\"ann\""), "{written}");
    }

    #[test]
    fn a_json_line_has_the_fields_of_its_span() {
        let lines = Lines::default();
        let writer = lines.clone();
        let json = tracing_subscriber::fmt().with_writer(move || writer.clone()).json();
        let json = json.flatten_event(true).with_current_span(false).with_span_list(false);
        tracing::subscriber::with_default(json.map_event_format(WithSpanFields).finish(), || {
            let (id, provider) = ("mallory\n\"}", "google");
            let span = tracing::error_span!("job", %provider, %id);
            span.in_scope(|| tracing::info!(attempts = 3, "token refresh failed"));
            tracing::info!("stopped");
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = written.lines().collect();
        let ends = r#"tests","id":"mallory\n\"}","provider":"google"}"#;
        assert!(lines[0].ends_with(ends), "{written}");
        assert!(lines[0].contains(r#""attempts":3"#), "{written}");
        assert!(lines.len() == 2 && lines[1].ends_with("tests\"}"), "{written}");
    }
}
