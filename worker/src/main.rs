//! The worker's binary: arguments, wiring, signals.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use evergrant_domain::heartbeat::ProcessRole;
use evergrant_runtime::config::Config;
use evergrant_runtime::process_reporter::ProcessReporter;
use evergrant_runtime::{connect, process, startup};
use evergrant_telemetry::{HealthChecks, ProcessMetrics, init_logs, serve};
use evergrant_worker::{
    NO_RESCUE_KEY, ProviderDeps, RescueDeps, WorkerDeps, WorkerEnd, WorkerSettings, run,
};

/// Refreshes grants: takes jobs from the queue, exchanges tokens, writes them back. Run as many as
/// you like.
#[derive(Debug, Parser)]
#[command(name = "evergrant-worker", version)]
struct Args {
    /// Configuration file (TOML). Secrets come from it, from files it names, or the environment.
    #[arg(long, env = "EVERGRANT_CONFIG")]
    config: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are served: an address and a port, or off.
    #[arg(long)]
    listen: Option<String>,
    /// As RUST_LOG: info, debug, evergrant_worker=debug,info.
    #[arg(long)]
    log_level: Option<String>,
}

/// One thread: a refresh costs it about a tenth of a millisecond, and two that wake each other for every
/// step of it cost a third more. More cores are for more workers.
#[tokio::main(worker_threads = 1)]
async fn main() -> anyhow::Result<ExitCode> {
    process::keep_memory_private();
    let args = Args::parse();
    let overrides = [("telemetry.listen", args.listen), ("telemetry.log_level", args.log_level)];
    let config = Config::load(args.config.as_deref(), &overrides)?;
    init_logs(&config.telemetry)?;
    config.warn_of_weaknesses()?;
    let providers = config.exchanging_providers()?;

    let name = process::unique_name();
    let shutdown = process::shutdown()?;
    let (metrics, health) = (ProcessMetrics::default(), HealthChecks::default());
    let store = connect::store(&config).await?;
    let reports = ProcessReporter::default();
    let queue = connect::queue(&config, format!("evergrant-worker {name}"))?;

    let served =
        serve(config.telemetry.listen, metrics.clone(), health.clone(), shutdown.clone().wait());
    if let Some(address) = served.await? {
        tracing::info!(%address, "serving health and metrics");
    }
    if !startup::prepare(&*store, &*queue, &health, shutdown.clone()).await? {
        return Ok(ExitCode::SUCCESS);
    }
    tracing::info!(worker = name, providers = providers.len(), "started");
    let rescue = RescueDeps::from_config(&config, &name)?;
    if rescue.is_none() {
        tracing::warn!("{NO_RESCUE_KEY}");
    }
    let providers = providers
        .into_iter()
        .map(|provider| ProviderDeps::start(provider, store.clone(), &metrics));
    let deps = WorkerDeps {
        providers: providers.collect::<Result<_, _>>()?,
        store: store.clone(),
        election: store.clone(),
        queue,
        rescue,
        settings: WorkerSettings::from_config(&config.worker, name),
        metrics,
        health,
        reports: reports.clone(),
    };
    let teller = reports.start_telling(store, ProcessRole::Worker, deps.settings.name.clone());
    let ended = run(deps, shutdown.wait()).await;
    teller.end().await;
    match ended {
        WorkerEnd::Cleanly => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        // What is unfinished was said where it is known.
        WorkerEnd::GraceOver => Ok(ExitCode::FAILURE),
    }
}
