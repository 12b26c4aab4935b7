//! The worker's program: arguments, wiring, signals.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use evergrant_domain::heartbeat::ProcessRole;
use evergrant_runtime::config::Config;
use evergrant_runtime::{Process, ProcessStart, process};
use evergrant_worker::{NO_RESCUE_KEY, ProviderDeps, WorkerDeps, WorkerEnd, WorkerSettings, run};

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

/// One thread: a refresh costs a tenth of a millisecond of CPU, and two threads that wake each
/// other at every step cost a third more. More cores are for more workers.
#[tokio::main(worker_threads = 1)]
async fn main() -> anyhow::Result<ExitCode> {
    process::keep_memory_private();
    let args = Args::parse();
    let overrides = [("telemetry.listen", args.listen), ("telemetry.log_level", args.log_level)];
    let config = Config::load(args.config.as_deref(), &overrides)?;
    // Before anything is connected to or created.
    config.exchanging_providers()?;
    config.section::<WorkerSettings>()?;
    let ProcessStart::Ready(process) = Process::start(&config, "evergrant-worker").await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let providers = ProviderDeps::start_all(&process, &config)?;
    tracing::info!(worker = process.name, providers = providers.len(), "started");
    let deps = WorkerDeps::new(&process, &config, process.name.clone(), providers)?;
    if deps.rescue.is_none() {
        tracing::warn!("{NO_RESCUE_KEY}");
    }
    let reports = deps.reports.clone();
    let teller = reports.start_telling(process.store, ProcessRole::Worker, process.name);
    let ended = run(deps, process.shutdown.wait()).await;
    teller.end().await;
    match ended {
        WorkerEnd::Cleanly => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        // The reason was logged where it is known.
        WorkerEnd::GraceOver => Ok(ExitCode::FAILURE),
    }
}
