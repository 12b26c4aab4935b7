//! `evergrant run`: producer, workers, health and metrics in one process, over whatever the two URLs
//! say.

mod engine;

use evergrant_runtime::config::Config;
use evergrant_runtime::process::ShutdownSignal;
use evergrant_runtime::{Process, ProcessStart};
use evergrant_worker::{NO_RESCUE_KEY, WorkerEnd};

use crate::args::RunArgs;
use crate::exit::Exit;

pub(crate) use engine::Engine;

/// Runs until a signal; then what was sent is committed, the rest is given back, and a second run
/// goes on from there.
pub(crate) async fn run(config: &Config, args: &RunArgs) -> anyhow::Result<Exit> {
    // Before anything is served or created.
    config.exchanging_providers()?;
    let process = match Process::start(config, "evergrant").await? {
        ProcessStart::Ready(process) => process,
        ProcessStart::ShutDown(shutdown) => return Ok(ended(&shutdown, WorkerEnd::Cleanly)),
    };
    let engine = Engine::new(config, &process, args.workers).await?;
    if !engine.has_nets() {
        tracing::warn!("{NO_RESCUE_KEY}");
    }
    tracing::info!(workers = args.workers, providers = config.providers.len(), "started");
    let how = engine.run(process.shutdown.clone()).await;
    Ok(ended(&process.shutdown, how))
}

fn ended(shutdown: &ShutdownSignal, how: WorkerEnd) -> Exit {
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

#[cfg(test)]
mod tests;
