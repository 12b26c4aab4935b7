//! The progress of a pass, for whoever waits for it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Receives the progress of a pass.
pub trait PassProgress: Send + Sync {
    /// This many more jobs are published.
    fn published(&self, jobs: u64);

    /// The pass is over.
    fn finish(&self);
}

/// Ignores the progress.
#[derive(Debug, Clone, Copy)]
pub struct NoProgress;

impl PassProgress for NoProgress {
    fn published(&self, _jobs: u64) {}

    fn finish(&self) {}
}

/// Shows a counter on the terminal. It is hidden if standard error is not a terminal.
pub struct TerminalProgress(ProgressBar);

impl Default for TerminalProgress {
    fn default() -> Self {
        let bar = ProgressBar::new_spinner();
        let style =
            ProgressStyle::with_template("{spinner} {human_pos} jobs, {per_sec}, {elapsed}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }
}

impl PassProgress for TerminalProgress {
    fn published(&self, jobs: u64) {
        self.0.inc(jobs);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
