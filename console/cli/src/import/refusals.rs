//! What is not imported, told with its lines. What follows one another for one reason is told once: a file
//! that is all wrong is one line, not a million.

use crate::output::Output;

/// The refusals of one import.
pub(super) struct RefusalLog<'a> {
    output: &'a Output,
    run: Option<RefusalRun>,
    pub(super) count: u64,
}

/// Refusals that follow one another for one reason.
struct RefusalRun {
    why: String,
    first: u64,
    column: Option<usize>,
    last: u64,
    count: u64,
}

impl<'a> RefusalLog<'a> {
    pub(super) const fn new(output: &'a Output) -> Self {
        Self { output, run: None, count: 0 }
    }

    pub(super) fn add(&mut self, line: u64, column: Option<usize>, why: String) {
        self.count += 1;
        if let Some(run) = self.run.as_mut().filter(|run| run.why == why) {
            run.last = line;
            run.count += 1;
            return;
        }
        self.flush();
        self.run = Some(RefusalRun { why, first: line, column, last: line, count: 1 });
    }

    /// Tells what is not told yet: the next refusal does not follow the last one.
    pub(super) fn flush(&mut self) {
        if let Some(run) = self.run.take() {
            self.output.message(&run.to_string());
        }
    }
}

impl std::fmt::Display for RefusalRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { why, first, column, last, count } = self;
        match (count, column) {
            (1, None) => write!(f, "line {first}: {why}"),
            (1, Some(column)) => write!(f, "line {first}, column {column}: {why}"),
            _ => write!(f, "lines {first} to {last}: {why} ({count} documents)"),
        }
    }
}
