//! `evergrant-bench`: benchmarks, as ratios to the rates of the parts alone.
//!
//! * `args`: the command line.
//! * `broker`, `store`, `provider`: the servers, each in a separate process.
//! * `site`: Evergrant on these servers: a database, queue names and programs.
//! * `raw`: each stage alone, with the bare clients.
//! * `embedded`: a drain of the embedded edition, which needs only the provider.
//! * `publish`, `drain`, `budget`, `scale`, `window`, `load`: the scenarios.
//! * `tls`: what TLS costs.
//! * `console`: the web console's pages.
//! * `peer`: the sequential loop that Evergrant replaces.
//! * `rates`, `usage`, `metrics`, `report`: from measurements to output.

mod args;
mod broker;
mod budget;
mod console;
mod drain;
mod embedded;
mod load;
mod metrics;
mod peer;
mod provider;
mod publish;
mod rates;
mod raw;
mod report;
mod scale;
mod scene;
mod seed;
mod site;
mod stages;
mod store;
mod tls;
mod usage;
mod window;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use args::{Args, Command};
use broker::Broker;
use report::Report;
use store::Stores;

/// The servers of one run.
pub(crate) struct Servers {
    pub(crate) broker: Broker,
    pub(crate) stores: Stores,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // When interrupted, the run is dropped with its servers and programs.
    let done = tokio::select! {
        done = run(&args) => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match done {
        Ok(report) => {
            report.print(args.json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            report::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenario as often as requested, on fresh servers each time.
async fn run(args: &Args) -> anyhow::Result<Report> {
    let mut reports = Vec::new();
    for run in 1..=args.runs.max(1) {
        if args.runs > 1 {
            report::say(&format!("run {run} of {}", args.runs));
        }
        reports.push(once(args).await?);
    }
    Ok(Report::median(reports))
}

async fn once(args: &Args) -> anyhow::Result<Report> {
    match &args.command {
        Command::Peer(peer) => return peer::run(peer).await,
        Command::Simulator(load) => return load::run(load).await,
        Command::Drain(drain) if args.servers.are_embedded() => return embedded::run(drain).await,
        Command::Console(console) if args.servers.are_embedded() => {
            return console::run(console, None).await;
        }
        _ if args.servers.are_embedded() => {
            anyhow::bail!("only drain and console know --store sqlite")
        }
        _ => {}
    }
    let stores = Stores::from_args(&args.servers)?;
    let broker = Broker::start().await.context("start RabbitMQ")?;
    let servers = Servers { broker, stores };
    match &args.command {
        Command::Publish(publish) => publish::run(&servers, publish).await,
        Command::Drain(drain) => drain::run(&servers, drain).await,
        Command::Budget(budget) => budget::run(&servers, budget).await,
        Command::Scale(scale) => scale::run(&servers, scale).await,
        Command::Window(window) => window::run(&servers, window).await,
        Command::Console(console) => {
            console::run(console, Some((&servers.broker, &servers.stores))).await
        }
        Command::Simulator(_) | Command::Peer(_) => unreachable!("they need no servers"),
    }
}
