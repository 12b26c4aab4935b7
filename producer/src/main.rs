//! The producer's program: arguments, wiring, signals.
#![allow(clippy::print_stdout, reason = "the summary of a single pass is this program's output")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use evergrant_domain::heartbeat::ProcessRole;
use evergrant_ports::DueSelection;
use evergrant_producer::{
    PassSelection, ProducerDeps, ProducerSettings, TerminalProgress, keep_outlook, run, run_once,
};
use evergrant_runtime::config::Config;
use evergrant_runtime::{Process, ProcessStart, process};
use evergrant_telemetry::init_logs;

/// What a broker shows of it.
const PROGRAM: &str = "evergrant-producer";

/// Finds the grants that are due and publishes one job for each. Without a mode it goes on for
/// ever.
#[derive(Debug, Parser)]
#[command(name = "evergrant-producer", version)]
struct Args {
    /// Publish what is due, once, and exit (for cron).
    #[arg(long, group = "mode")]
    once: bool,
    /// Publish a job for every active grant, due or not, and exit.
    #[arg(long, group = "mode")]
    all: bool,
    /// Publish a job for each active grant of this user, due or not, and exit.
    #[arg(long, value_name = "USER_ID", group = "mode")]
    user: Option<String>,
    /// Only say how many jobs would be published.
    #[arg(long)]
    dry_run: bool,
    /// Configuration file (TOML). Secrets come from it, from files it names, or the environment.
    #[arg(long, env = "EVERGRANT_CONFIG")]
    config: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are served: an address and a port, or off.
    #[arg(long)]
    listen: Option<String>,
    /// As RUST_LOG: info, debug, evergrant_producer=debug,info.
    #[arg(long)]
    log_level: Option<String>,
}

impl Args {
    /// The single pass that the arguments ask for; None to run as a daemon.
    fn selection(&self) -> Option<PassSelection> {
        let which = match &self.user {
            Some(user) => DueSelection::User(user.clone()),
            None if self.all => DueSelection::All,
            None if self.once || self.dry_run => DueSelection::Due,
            None => return None,
        };
        Some(PassSelection { which, dry_run: self.dry_run, sweep: true })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    process::keep_memory_private();
    let args = Args::parse();
    let selection = args.selection();
    let overrides = [("telemetry.listen", args.listen), ("telemetry.log_level", args.log_level)];
    let config = Config::load(args.config.as_deref(), &overrides)?;
    // Before anything is connected to.
    config.section::<ProducerSettings>()?;
    let providers = config.some_providers()?.into_iter().map(Arc::new).collect();
    if let Some(selection) = selection {
        return once(&config, &selection).await;
    }
    let ProcessStart::Ready(process) = Process::start(&config, PROGRAM).await? else {
        tracing::info!("stopped");
        return Ok(ExitCode::SUCCESS);
    };
    let deps = ProducerDeps::new(&process, &config)?;
    let (store, metrics) = (process.store.clone(), process.metrics.clone());
    tokio::spawn(keep_outlook(store, providers, config.default_provider(), metrics));
    tracing::info!(providers = deps.providers.len(), "started");
    let teller = deps.reports.start_telling(process.store, ProcessRole::Producer, process.name);
    run(deps, process.shutdown.wait()).await;
    teller.end().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The exit code when a part of the pass failed; the summary says which.
const PARTIAL: u8 = 3;

/// Makes a single pass and prints its summary. It fails at once if a server is unavailable.
async fn once(config: &Config, selection: &PassSelection) -> anyhow::Result<ExitCode> {
    init_logs(&config.telemetry)?;
    config.warn_of_weaknesses()?;
    let process = Process::connect(config, PROGRAM, process::shutdown()?).await?;
    process.store.prepare().await?;
    process.queue.prepare().await?;
    let deps = ProducerDeps::new(&process, config)?;
    let summary = run_once(&deps, selection, &TerminalProgress::default()).await;
    if let Some(failure) = summary.total_failure() {
        return Err(failure.clone().into());
    }
    println!("{summary}");
    Ok(if summary.is_partial() { ExitCode::from(PARTIAL) } else { ExitCode::SUCCESS })
}
