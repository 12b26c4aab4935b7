//! `evergrant run`: producer, workers, health and metrics in one process, over whatever the two URLs
//! say.

mod engine;

use evergrant_runtime::config::Config;
use evergrant_runtime::{process, startup};
use evergrant_telemetry::{HealthChecks, ProcessMetrics, serve};
use evergrant_worker::{NO_RESCUE_KEY, WorkerEnd};

use crate::args::RunArgs;
use crate::exit::Exit;

pub(crate) use engine::{Engine, Servers};

/// Runs until a signal; then what was sent is committed, the rest is given back, and a second run
/// goes on from there.
pub(crate) async fn run(config: &Config, args: &RunArgs) -> anyhow::Result<Exit> {
    let shutdown = process::shutdown()?;
    let (metrics, health) = (ProcessMetrics::default(), HealthChecks::default());
    // Before the file is touched: a second one that is started by mistake ends here.
    let served =
        serve(config.telemetry.listen, metrics.clone(), health.clone(), shutdown.clone().wait());
    if let Some(address) = served.await? {
        tracing::info!(%address, "serving health and metrics");
    }
    let servers = Servers::connect(config).await?;
    let engine = Engine::new(config, &servers, usize::from(args.workers), metrics, health)?;
    let prepared =
        startup::prepare(&*servers.store, &*servers.queue, engine.health(), shutdown.clone());
    if !prepared.await? {
        return Ok(ended(&shutdown, WorkerEnd::Cleanly));
    }
    if !engine.has_nets() {
        tracing::warn!("{NO_RESCUE_KEY}");
    }
    tracing::info!(workers = args.workers, providers = config.providers.len(), "started");
    let how = engine.run(shutdown.clone()).await;
    Ok(ended(&shutdown, how))
}

fn ended(shutdown: &process::ShutdownSignal, how: WorkerEnd) -> Exit {
    match how {
        WorkerEnd::Cleanly if shutdown.is_interrupt() => {
            tracing::info!("stopped: all that was sent is written; start again to go on");
            Exit::Interrupted
        }
        WorkerEnd::Cleanly => {
            tracing::info!("stopped");
            Exit::Done
        }
        // What is unfinished was said where it is known.
        WorkerEnd::GraceOver => Exit::Error,
    }
}
