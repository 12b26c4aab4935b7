//! The report of a scenario, as JSON or as a table.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value, json};

/// Names and figures, in order. A list of reports becomes a table of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Report(Map<String, Value>);

impl Report {
    pub(crate) fn new(scenario: &str) -> Self {
        let mut report = Self::default();
        report.text("scenario", scenario);
        report
    }

    /// A figure, rounded to its significant digits.
    pub(crate) fn number(&mut self, name: &str, value: f64) {
        let digits = if value.abs() >= 100.0 { 0 } else { 3 };
        let scale = 10_f64.powi(digits);
        self.value(name, json!((value * scale).round() / scale));
    }

    pub(crate) fn count(&mut self, name: &str, value: impl Into<u64>) {
        self.value(name, json!(value.into()));
    }

    pub(crate) fn text(&mut self, name: &str, value: impl Into<String>) {
        self.value(name, Value::String(value.into()));
    }

    pub(crate) fn value(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// One report inside another.
    pub(crate) fn part(&mut self, name: &str, part: Self) {
        self.value(name, Value::Object(part.0));
    }

    /// A row for each number of workers or replicas.
    pub(crate) fn rows(&mut self, name: &str, rows: Vec<Self>) {
        self.value(name, rows.into_iter().map(|row| Value::Object(row.0)).collect());
    }

    /// The median of each figure. Texts are those of the last run.
    pub(crate) fn median(reports: Vec<Self>) -> Self {
        let runs = reports.len() as u64;
        let values: Vec<Value> =
            reports.into_iter().map(|report| Value::Object(report.0)).collect();
        let Value::Object(fields) = median(&values) else { return Self::default() };
        let mut report = Self(fields);
        report.count("runs", runs);
        report
    }

    /// Prints it to standard output.
    pub(crate) fn print(&self, json: bool) {
        let text = if json { Value::Object(self.0.clone()).to_string() } else { self.tables() };
        // A closed pipe is no error.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    fn tables(&self) -> String {
        let mut tables = Vec::new();
        let mut plain = table();
        for (name, value) in &self.0 {
            match value {
                Value::Array(rows) if rows.iter().all(Value::is_object) => {
                    tables.push(columns(rows).to_string());
                }
                Value::Object(part) => {
                    for (inner, value) in part {
                        plain.add_row([format!("{name}.{inner}"), cell(value)]);
                    }
                }
                value => {
                    plain.add_row([name.clone(), cell(value)]);
                }
            }
        }
        tables.insert(0, plain.to_string());
        tables.join("\n\n")
    }
}

/// A message for the user.
pub(crate) fn say(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn columns(rows: &[Value]) -> Table {
    let mut table = table();
    if let Some(Value::Object(first)) = rows.first() {
        table.set_header(first.keys());
    }
    for row in rows.iter().filter_map(Value::as_object) {
        table.add_row(row.values().map(cell));
    }
    table
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// The median of numbers, member by member for objects and item by item for arrays.
fn median(values: &[Value]) -> Value {
    match values.last() {
        Some(Value::Number(last)) => {
            let mut numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
            numbers.sort_by(f64::total_cmp);
            let middle = numbers[numbers.len() / 2];
            if last.is_u64() && middle.fract() == 0.0 {
                json!(middle as u64)
            } else {
                json!(middle)
            }
        }
        Some(Value::Object(last)) => {
            let member = |name: &String| {
                let all: Vec<_> = values.iter().filter_map(|v| v.get(name)).cloned().collect();
                (name.clone(), median(&all))
            };
            Value::Object(last.keys().map(member).collect())
        }
        Some(Value::Array(last)) => {
            let place = |index| {
                let all: Vec<_> = values.iter().filter_map(|v| v.get(index)).cloned().collect();
                median(&all)
            };
            Value::Array((0..last.len()).map(place).collect())
        }
        Some(other) => other.clone(),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ratio: f64, rows: &[f64]) -> Report {
        let mut report = Report::new("drain");
        report.number("ratio", ratio);
        let row = |used: &f64| {
            let mut row = Report::default();
            row.number("used", *used);
            row
        };
        report.rows("replicas", rows.iter().map(row).collect());
        report
    }

    #[test]
    fn each_figure_is_its_own_median() {
        let runs =
            vec![report(0.9, &[1.0, 0.3]), report(0.7, &[0.5, 0.1]), report(0.8, &[0.7, 0.2])];
        let mut median = report(0.8, &[0.7, 0.2]);
        median.count("runs", 3_u64);
        assert_eq!(Report::median(runs), median);
    }

    #[test]
    fn figures_are_rounded_to_significant_digits() {
        let mut report = Report::default();
        report.number("per_s", 12_345.678);
        report.number("ratio", 0.123_456);
        assert_eq!(Value::Object(report.0).to_string(), r#"{"per_s":12346.0,"ratio":0.123}"#);
    }
}
