//! Where a command writes: data to standard output, words to standard error.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use evergrant_domain::printable::ascii_json;
pub(crate) use evergrant_domain::printable::printable;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// A JSON document a line, one for each thing of a list.
    Jsonl,
}

/// Where a command writes.
pub(crate) struct Output {
    /// Whether data is JSON.
    pub(crate) json: bool,
    /// Whether each thing of a list is a line.
    lines: bool,
    quiet: bool,
}

impl Output {
    pub(crate) const fn new(format: Format) -> Self {
        let json = matches!(format, Format::Json | Format::Jsonl);
        Self { json, lines: matches!(format, Format::Jsonl), quiet: false }
    }

    /// Nowhere: for a command within another one that has its own words.
    pub(crate) const fn quiet() -> Self {
        Self { json: false, lines: false, quiet: true }
    }

    /// Whether nothing is written.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A line of data. A reader that has gone away is no error: it has seen enough.
    pub(crate) fn line(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    /// A line of JSON.
    pub(crate) fn json(&self, value: &impl Serialize) {
        self.line(&json_line(value));
    }

    /// A list of things in JSON.
    pub(crate) fn json_list<T: Serialize>(&self, things: &[T]) {
        if self.lines {
            things.iter().for_each(|thing| self.json(thing));
        } else {
            self.json(&things);
        }
    }

    /// A list in JSON that is not known at once.
    pub(crate) const fn json_stream(&self) -> JsonStream<'_> {
        JsonStream { output: self, begun: false }
    }

    /// An error, with what to do next.
    pub(crate) fn error(&self, error: impl std::fmt::Display) {
        if !self.quiet {
            let label = console::style("error:").for_stderr().red().bold();
            let _ = writeln!(std::io::stderr(), "{label} {}", printable(&error.to_string()));
        }
    }

    /// Words for whoever runs the command.
    pub(crate) fn message(&self, message: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{}", printable(message));
        }
    }

    /// A table of data.
    pub(crate) fn table(&self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        render_table(header, rows).iter().for_each(|line| self.line(line));
    }

    /// Asks a question, and says whether the answer is yes. None where nobody can answer.
    pub(crate) fn confirm(&self, question: &str) -> Option<bool> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let _ = write!(std::io::stderr(), "{question} [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// A bar of so many, on a terminal only.
    pub(crate) fn bar(&self, total: u64, what: &'static str) -> ProgressBar {
        let bar = if self.quiet { ProgressBar::hidden() } else { ProgressBar::new(total) };
        let template = "{bar:40} {human_pos} of {human_len} {msg}, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.with_message(what)
    }

    /// A line that counts, on a terminal only.
    pub(crate) fn counter(&self, what: &'static str) -> ProgressBar {
        let bar = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {per_sec}") {
            bar.set_style(style);
        }
        bar
    }
}

/// A table as lines.
pub(crate) fn render_table(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// A list in JSON, written as it comes: one array, or a line for each.
pub(crate) struct JsonStream<'a> {
    output: &'a Output,
    begun: bool,
}

impl JsonStream<'_> {
    pub(crate) fn push(&mut self, thing: &impl Serialize) {
        let json = json_line(thing);
        match (self.output.lines, self.begun) {
            (true, _) => self.output.line(&json),
            (false, false) => self.output.line(&format!("[{json}")),
            (false, true) => self.output.line(&format!(",{json}")),
        }
        self.begun = true;
    }

    pub(crate) fn end(self) {
        match (self.output.lines, self.begun) {
            (true, _) => {}
            (false, false) => self.output.line("[]"),
            (false, true) => self.output.line("]"),
        }
    }
}

/// A line of JSON for standard output. A terminal gets nothing that it could act on.
fn json_line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    if std::io::stdout().is_terminal() { ascii_json(&json) } else { json }
}

/// What a table shows where there is nothing.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
