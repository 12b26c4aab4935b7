//! Where a command writes: data to standard output, words to standard error.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Where a command writes.
pub(crate) struct Output {
    /// Whether data is JSON.
    pub(crate) json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, quiet: false }
    }

    /// Nowhere: for a command within another one that has its own words.
    pub(crate) const fn quiet() -> Self {
        Self { json: false, quiet: true }
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
        self.line(&serde_json::to_string(value).unwrap_or_default());
    }

    /// Words for whoever runs the command.
    pub(crate) fn message(&self, message: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{}", printable(message));
        }
    }

    /// A table of data.
    pub(crate) fn table(&self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header.iter().copied());
        for row in rows {
            table.add_row(row.iter().map(|cell| printable(cell)));
        }
        for line in table.lines() {
            self.line(line.trim_end());
        }
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

    /// A line that counts, on a terminal only.
    pub(crate) fn counter(&self, what: &'static str) -> ProgressBar {
        let bar = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg}, {per_sec}") {
            bar.set_style(style);
        }
        bar
    }
}

/// Text of others as it may reach a terminal: control characters, which could move the cursor or
/// change what was said before, are shown as escapes.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if c.is_control() || is_invisible(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// Marks that turn the direction of text, and line separators.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a table shows where there is nothing.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\r\n"), "a\\u{1b}[31mb\\u{d}\\u{a}");
        assert_eq!(printable("gro\u{df}\u{202e}"), "gro\u{df}\\u{202e}");
    }
}
