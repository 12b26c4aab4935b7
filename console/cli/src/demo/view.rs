//! The live view: a bar and a line on a terminal, plain lines elsewhere.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::figures::Figures;
use crate::output::Output;

/// The time over which a pace is measured.
const PACE_INTERVAL: Duration = Duration::from_secs(3);
/// How often a plain line is written.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

/// Shows how far it has come.
pub(super) struct View<'a> {
    /// Grants that were settled before.
    before: u64,
    wanted: u64,
    limit_per_s: u32,
    words: &'a Output,
    bars: Option<(MultiProgress, ProgressBar, ProgressBar)>,
    /// Settled grants and requests, some time back.
    earlier: VecDeque<(Instant, u64, u64)>,
    last_line: Option<Instant>,
}

impl<'a> View<'a> {
    /// A view of a work of `wanted` grants, after the first `before`, at a provider that takes so many
    /// requests a second.
    pub(super) fn new(before: u64, wanted: u64, limit_per_s: u32, words: &'a Output) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !words.is_quiet();
        let bars = on_terminal.then(|| bars(wanted));
        let earlier = VecDeque::new();
        Self { before, wanted, limit_per_s, words, bars, earlier, last_line: None }
    }

    pub(super) fn show(&mut self, figures: &Figures, queued: u64) {
        let now = Instant::now();
        self.earlier.push_back((now, figures.settled(), figures.requests));
        while self.earlier.front().is_some_and(|(at, ..)| now - *at > PACE_INTERVAL) {
            self.earlier.pop_front();
        }
        let line = self.line(figures, queued);
        match &self.bars {
            Some((_, bar, details)) => {
                bar.set_position(self.done(figures));
                details.set_message(line);
            }
            None if self.last_line.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL) => {
                self.last_line = Some(now);
                let (done, wanted) = (self.done(figures), self.wanted);
                self.words.message(&format!("{done} of {wanted} users, {line}"));
            }
            None => {}
        }
    }

    fn done(&self, figures: &Figures) -> u64 {
        figures.settled().saturating_sub(self.before)
    }

    fn line(&self, figures: &Figures, queued: u64) -> String {
        let mut line = format!(
            "queue {queued}, in flight {}, refreshed {}, retried {}, throttled {}",
            figures.in_flight, figures.refreshed, figures.retried, figures.throttled
        );
        for (reason, count) in &figures.dead {
            let _ = write!(line, ", {reason} {count}");
        }
        if let Some((settled_per_s, requests_per_s)) = self.pace() {
            let used = requests_per_s / f64::from(self.limit_per_s) * 100.0;
            let _ = write!(line, ", budget {used:.0} %");
            let left = self.wanted.saturating_sub(self.done(figures));
            if left > 0 && settled_per_s > 0.0 {
                #[allow(clippy::cast_precision_loss, reason = "an estimate")]
                let left_s = left as f64 / settled_per_s;
                let _ = write!(line, ", {left_s:.0} s left");
            }
        }
        line
    }

    /// Grants settled and requests answered in a second, of late.
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    fn pace(&self) -> Option<(f64, f64)> {
        let (first, last) = (self.earlier.front()?, self.earlier.back()?);
        let seconds = (last.0 - first.0).as_secs_f64();
        let per_s = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        (seconds > 0.5).then(|| (per_s(first.1, last.1), per_s(first.2, last.2)))
    }

    pub(super) fn finish(&self) {
        if let Some((bars, ..)) = &self.bars {
            // What cannot be cleared stays, and does no harm.
            let _ = bars.clear();
        }
    }
}

fn bars(wanted: u64) -> (MultiProgress, ProgressBar, ProgressBar) {
    let bars = MultiProgress::new();
    let (bar, details) = (ProgressBar::new(wanted), ProgressBar::new_spinner());
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40.cyan} {human_pos} of {human_len} users, {elapsed}")
    {
        bar.set_style(style);
    }
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        details.set_style(style);
    }
    (bars.clone(), bars.add(bar), bars.add(details))
}
