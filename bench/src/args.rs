//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use evergrant_domain::limit::RateLimit;

use crate::seed;

/// Measures Evergrant on real servers, as ratios to the rate of each stage alone in the same run.
#[derive(Debug, Parser)]
#[command(name = "evergrant-bench", version)]
pub(crate) struct Args {
    /// Print one JSON object instead of a table.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Run the scenario this often, on fresh servers, and print the median of each figure.
    #[arg(long, global = true, default_value_t = 1)]
    pub(crate) runs: u32,
    #[command(flatten)]
    pub(crate) servers: ServerArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The servers to use. RabbitMQ is that of EVERGRANT_TEST_AMQP_URL, or one in a container.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// URL of a MongoDB server, on which each run creates a database. Without it, `secantusd-rs` is
    /// started on an empty folder for each measurement. For a drain and the console also `sqlite`:
    /// the embedded edition, one file.
    #[arg(long, global = true, env = "EVERGRANT_TEST_MONGODB_URL", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// The program `secantusd-rs`, if it is not on the PATH.
    #[arg(long, global = true, env = "EVERGRANT_BENCH_SECANTUSD")]
    pub(crate) secantusd: Option<PathBuf>,
    /// Start it with --sync-on-commit: acknowledged writes are durable.
    #[arg(long, global = true)]
    pub(crate) sync: bool,
}

/// The value of `--store` for the embedded edition.
const EMBEDDED: &str = "sqlite";

impl ServerArgs {
    /// Whether to measure the embedded edition, which needs no servers.
    pub(crate) fn are_embedded(&self) -> bool {
        self.store.as_deref() == Some(EMBEDDED)
    }
}

/// The scenario.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The producer: due documents become jobs.
    Publish(PublishArgs),
    /// Workers: a full queue is emptied.
    Drain(DrainArgs),
    /// A rate limit, at several numbers of workers.
    Budget(BudgetArgs),
    /// A drain at several numbers of workers.
    Scale(ScaleArgs),
    /// The time from an answer to its commit, at a steady rate.
    Window(WindowArgs),
    /// Pages of the web console, with many users and many dead letters.
    Console(ConsoleArgs),
    /// Requests to the simulated provider, which must not be the bottleneck.
    Simulator(SimulatorArgs),
    /// The sequential loop, as a separate process.
    #[command(hide = true)]
    Peer(PeerArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    /// Documents that are due.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub(crate) docs: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// Documents to refresh.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) docs: u32,
    /// Worker processes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// The provider's latency.
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_ms: u64,
    /// Use grants that Evergrant has never refreshed: the first exchange of each costs a note about
    /// its token. By default they were refreshed once, like nearly all grants in practice.
    #[arg(long)]
    pub(crate) first: bool,
    /// With --store sqlite: users in the file who are not due, in addition to those to refresh.
    #[arg(long, default_value_t = 0)]
    pub(crate) others: u32,
    /// Also measure what TLS costs: over HTTP/1.1 and HTTP/2, with latencies of 0 and 100 ms.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Also measure the alternative that a user would otherwise build.
    #[arg(long)]
    pub(crate) peer: Option<PeerKind>,
}

impl DrainArgs {
    /// How many times each grant was refreshed before.
    pub(crate) const fn refreshed(&self) -> i64 {
        if self.first { seed::NEVER } else { seed::ONCE }
    }
}

/// The alternative that a user would otherwise build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerKind {
    /// A loop over due documents: read, exchange, update, one at a time.
    Sequential,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BudgetArgs {
    /// The provider's limit.
    #[arg(long, default_value = "200/s")]
    pub(crate) rate: RateLimit,
    /// Numbers of worker processes.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    pub(crate) replicas: Vec<u16>,
    /// How long the limit takes for all documents.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(4..))]
    pub(crate) seconds: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// Documents to refresh at each number of workers.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) docs: u32,
    /// Numbers of worker processes.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16")]
    pub(crate) workers: Vec<u16>,
    /// The provider's latency.
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_ms: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WindowArgs {
    /// Refreshes, as the provider's limit.
    #[arg(long, default_value = "200/s")]
    pub(crate) rate: RateLimit,
    /// For how long.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// The provider's latency.
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_ms: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConsoleArgs {
    /// Users.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub(crate) users: u32,
    /// Dead letters, of the first of them.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) dead: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SimulatorArgs {
    /// Requests to send.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) requests: u32,
    /// Connections to send them by, each one at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) connections: u16,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PeerArgs {
    /// The database.
    #[arg(long)]
    pub(crate) database: String,
    /// Where tokens are exchanged.
    #[arg(long)]
    pub(crate) token_url: String,
    /// Stop after this time, even if documents are left.
    #[arg(long)]
    pub(crate) seconds: u64,
}
