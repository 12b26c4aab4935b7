//! How far a pass has come, for someone who watches.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Someone who watches a pass.
pub trait PassProgress: Send + Sync {
    /// So many more jobs are published.
    fn published(&self, jobs: u64);

    /// The pass is over.
    fn finish(&self);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct NoProgress;

impl PassProgress for NoProgress {
    fn published(&self, _jobs: u64) {}

    fn finish(&self) {}
}

/// A line on the terminal that counts. It hides where standard error is no terminal.
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
