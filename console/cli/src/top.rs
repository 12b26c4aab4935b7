//! `evergrant top`: all of it, live. A terminal is drawn over again; elsewhere each look is a block of
//! lines, or a line of JSON.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use evergrant_ports::{JobQueue, Store};
use evergrant_provider::Provider;
use evergrant_runtime::process::{self, ShutdownSignal};

use crate::exit::Exit;
use crate::output::{Output, render_table};
use crate::providers::{due, share, until_and_why};
use crate::workers;
use evergrant_operations::overview::{FleetOverview, OverviewSources, ProviderOverview};

/// What it shows.
pub(crate) struct Top<'a> {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) providers: Vec<Provider>,
    pub(crate) output: &'a Output,
}

impl Top<'_> {
    /// Looks again and again until Ctrl-C, or once.
    pub(crate) async fn run(&self, every: Duration, once: bool) -> anyhow::Result<Exit> {
        let shutdown = process::shutdown()?;
        let live = !once && !self.output.json && std::io::stdout().is_terminal();
        let mut screen = live.then(Screen::default);
        let mut away_since = None;
        loop {
            let sources = OverviewSources {
                store: &self.store,
                queue: Some(&self.queue),
                providers: &self.providers,
            };
            match sources.overview().await {
                Ok(overview) => {
                    away_since = None;
                    self.show(&overview, screen.as_mut())?;
                }
                Err(error) if once => return Err(error.into()),
                Err(error) => {
                    let since = *away_since.get_or_insert_with(tokio::time::Instant::now);
                    let seconds = since.elapsed().as_secs();
                    let words = format!("{error} (for {seconds} s; trying again)");
                    match &mut screen {
                        Some(screen) => screen.draw(&[words])?,
                        None => self.output.message(&words),
                    }
                }
            }
            if once || wait(&shutdown, every).await {
                return Ok(Exit::Done);
            }
        }
    }

    fn show(&self, overview: &FleetOverview, screen: Option<&mut Screen>) -> std::io::Result<()> {
        if self.output.json {
            self.output.json(overview);
            return Ok(());
        }
        let lines = lines(overview);
        match screen {
            Some(screen) => screen.draw(&lines),
            None => {
                lines.iter().for_each(|line| self.output.line(line));
                self.output.line("");
                Ok(())
            }
        }
    }
}

/// True if somebody wants it to end.
async fn wait(shutdown: &ShutdownSignal, every: Duration) -> bool {
    tokio::select! {
        () = shutdown.clone().wait() => true,
        () = tokio::time::sleep(every) => false,
    }
}

/// A terminal on which the last look is drawn over.
struct Screen {
    term: console::Term,
    drawn: usize,
}

impl Default for Screen {
    fn default() -> Self {
        Self { term: console::Term::stdout(), drawn: 0 }
    }
}

impl Screen {
    fn draw(&mut self, lines: &[String]) -> std::io::Result<()> {
        let (rows, columns) = self.term.size();
        let rows = usize::from(rows).saturating_sub(1).max(1);
        self.term.clear_last_lines(self.drawn)?;
        let shown = lines.iter().take(rows);
        self.drawn = shown.len();
        for line in shown {
            self.term.write_line(&console::truncate_str(line, usize::from(columns), "…"))?;
        }
        Ok(())
    }
}

/// A look as lines.
fn lines(overview: &FleetOverview) -> Vec<String> {
    let providers = &overview.providers;
    let sum = |of: fn(&ProviderOverview) -> u64| providers.iter().map(of).sum::<u64>();
    let per_second: f64 = providers.iter().map(|provider| provider.refreshed_per_second).sum();
    let living = overview.processes.iter().filter(|process| !process.is_gone(overview.now));
    let mut lines = vec![
        format!(
            "{}  {} processes live, {} due, {} in flight, {per_second:.1} refreshed/s",
            overview.now,
            living.count(),
            sum(|provider| provider.due),
            sum(|provider| u64::from(provider.in_flight)),
        ),
        String::new(),
    ];
    if let Some(error) = &overview.queue_error {
        lines.push(crate::output::printable(error));
        lines.push(String::new());
    }
    let header = [
        "PROVIDER",
        "STATE",
        "UNTIL",
        "WHY",
        "USED",
        "DUE",
        "QUEUED",
        "IN FLIGHT",
        "PER S",
        "15 MIN:",
        "REFRESHED",
        "RETRIED",
        "THROTTLED",
        "DEAD",
        "FAILED",
    ];
    lines.extend(render_table(&header, providers.iter().map(row)));
    lines.push(String::new());
    let processes = overview.processes.iter();
    lines.extend(render_table(
        &workers::HEADER,
        processes.map(|process| workers::row(process, overview.now)),
    ));
    lines
}

fn row(view: &ProviderOverview) -> Vec<String> {
    let (until, why) = until_and_why(&view.standing);
    vec![
        view.provider.to_string(),
        view.standing.as_str().to_owned(),
        until,
        why,
        share(view.budget_used_percent),
        due(view.due),
        crate::output::or_dash(view.queued),
        view.in_flight.to_string(),
        format!("{:.1}", view.refreshed_per_second),
        String::new(),
        view.lately.refreshed.to_string(),
        view.lately.retried.to_string(),
        view.lately.throttled.to_string(),
        view.lately.dead_in_all().to_string(),
        share(view.failed_percent),
    ]
}
