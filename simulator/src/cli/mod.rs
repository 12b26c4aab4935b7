//! The command line.

mod seed;
mod serve;
mod sink;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

pub(crate) use seed::seed;
pub(crate) use serve::serve;

/// An OAuth 2.0 provider that rotates strictly, misbehaves on demand and keeps a ledger.
#[derive(Debug, Parser)]
#[command(name = "evergrant-simulator", version)]
pub(crate) struct Cli {
    /// What is logged to standard error, as a tracing filter
    #[arg(long, env = "EVERGRANT_SIMULATOR_LOG", default_value = "info", global = true)]
    log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the provider until SIGINT or SIGTERM
    Serve(serve::ServeArgs),
    /// Have a running provider make documents, and write them to a file or a collection
    Seed(seed::SeedArgs),
}

impl Cli {
    pub(crate) fn log_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.log)
    }
}
