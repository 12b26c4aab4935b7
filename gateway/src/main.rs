//! The gateway's binary: arguments, wiring, signals.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use evergrant_gateway::{GatewayServer, GatewaySettings};
use evergrant_runtime::config::Config;
use evergrant_runtime::{Process, ProcessStart, process};
use evergrant_worker::{NO_RESCUE_KEY, ProviderDeps, WorkerEnd};

/// Hands out access tokens that are valid for long enough, and refreshes those that are not. Run as many as
/// you like.
#[derive(Debug, Parser)]
#[command(name = "evergrant-gateway", version)]
struct Args {
    /// Configuration file (TOML). Secrets come from it, from files it names, or the environment.
    #[arg(long, env = "EVERGRANT_CONFIG")]
    config: Option<PathBuf>,
    /// Where callers ask for tokens: an address and a port.
    #[arg(long)]
    listen: Option<String>,
    /// As RUST_LOG: info, debug, evergrant_gateway=debug,info.
    #[arg(long)]
    log_level: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    process::keep_memory_private();
    let args = Args::parse();
    let overrides = [("gateway.listen", args.listen), ("telemetry.log_level", args.log_level)];
    let config = Config::load(args.config.as_deref(), &overrides)?;
    // Before anything is connected to or created.
    config.exchanging_providers()?;
    config.section::<GatewaySettings>()?;
    let ProcessStart::Ready(process) = Process::start(&config, "evergrant-gateway").await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let providers = ProviderDeps::start_all(&process, &config)?;
    let server = GatewayServer::listen(&process, &config, providers).await?;
    let server = server.context("gateway.listen is off: give an address, or --listen")?;
    if !server.has_safeguards() {
        tracing::warn!("{NO_RESCUE_KEY}");
    }
    Ok(match server.serve(process.shutdown.wait()).await {
        WorkerEnd::Cleanly => ExitCode::SUCCESS,
        WorkerEnd::GraceOver => ExitCode::FAILURE,
    })
}
