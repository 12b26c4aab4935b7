//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use evergrant_shared::domain::limit::Limit;
use evergrant_shared::domain::{DeadReason, DocumentId, ProviderId, Status, Timestamp};
use evergrant_shared::ports::GrantFilter;
use secrecy::SecretString;

use crate::dlq::LetterFilter;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 partly done, \
                          4 nothing matched, 130 interrupted. Data goes to standard output, words to standard error.";

/// Keeps grants alive and looks after them.
#[derive(Debug, Parser)]
#[command(name = "evergrant", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Configuration file (TOML). Secrets come from it, from files it names, or the environment.
    #[arg(long, env = "EVERGRANT_CONFIG", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON: a document for a summary or a list of groups, a line for each of many.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log lines to show on standard error: warn, info, debug [default: info for run, else warn].
    #[arg(long, global = true)]
    pub(crate) log_level: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work: a simulated provider, some hundred users, everything in this process.
    Demo(DemoArgs),
    /// Keep grants alive: a producer, workers, health and metrics in this process.
    Run(RunArgs),
    /// Write settings for a provider, after asking or from flags, and make what they need.
    Init(InitArgs),
    /// Put token documents into the store: JSON lines or a JSON array, extended JSON too. What
    /// exists keeps Evergrant's state.
    Import {
        /// A file, or - for standard input.
        file: PathBuf,
    },
    /// Write all token documents as JSON lines, TOKENS INCLUDED.
    Export {
        /// A file, made readable by its owner only, or - for standard output.
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Replace the file if it exists.
        #[arg(long)]
        force: bool,
    },
    /// Move all documents from one store to another, and compare the two. To start again goes on
    /// where it was.
    Migrate(MigrateArgs),
    /// See grants, without their tokens.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// See dead letters, send them back, or remove them.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// See providers, and say what holds for all workers within a second.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// Say what will become of the grants at the present limits, for 7 and 30 days ahead. Exit code 3
    /// if one would be lost.
    Plan,
    /// Say what can be reached and whether it is as it should be.
    Doctor,
    /// Exit 0 if a URL answers with success, 1 if not (for containers).
    Healthcheck {
        /// Such as http://127.0.0.1:9464/readyz.
        #[arg(long)]
        url: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Workers, each with worker.exchanges_in_flight requests at once. A provider's limits hold for
    /// all of them together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// Where /healthz, /readyz and /metrics are served: an address and a port, or off.
    #[arg(long)]
    pub(crate) listen: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// What is known of the provider.
    #[arg(long, value_enum, default_value_t = Preset::Oauth2)]
    pub(crate) preset: Preset,
    /// The provider's name in the settings and in queues.
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// The URL of its token endpoint, if the preset does not know it.
    #[arg(long)]
    pub(crate) token_url: Option<String>,
    /// The client id that the provider gave to your application.
    #[arg(long)]
    pub(crate) client_id: Option<String>,
    /// A file that holds the client secret. It is copied to a file beside the settings.
    #[arg(long)]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// The client has no secret.
    #[arg(long, conflicts_with = "client_secret_file")]
    pub(crate) public_client: bool,
    /// Where documents and jobs are, if not in a file beside the settings: sqlite:PATH.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Where the settings go.
    #[arg(long, default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Replace what is there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Providers that Evergrant knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// Any provider that follows RFC 6749.
    Oauth2,
    /// Autodesk Platform Services.
    Autodesk,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Users to make and refresh.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) users: u32,
    /// Workers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// How much goes wrong at the provider.
    #[arg(long, value_enum, default_value_t = Faults::Some)]
    pub(crate) faults: Faults,
    /// Decides what goes wrong for whom.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How much goes wrong at the provider of a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Faults {
    /// Nothing.
    None,
    /// What a provider does on an ordinary day.
    Some,
    /// Three times that, and answers that are lost on the way.
    Heavy,
}

/// A URL on the command line can be read by everybody on this machine, so one with a password comes
/// from a file or the environment.
#[derive(Debug, ClapArgs)]
pub(crate) struct MigrateArgs {
    /// The store to leave: sqlite:PATH or mongodb://… .
    #[arg(long, env = "EVERGRANT_MIGRATE_FROM", hide_env_values = true)]
    #[arg(required_unless_present = "from_file")]
    pub(crate) from: Option<SecretString>,
    /// A file that holds that URL.
    #[arg(long, conflicts_with = "from")]
    pub(crate) from_file: Option<PathBuf>,
    /// The store to move to: sqlite:PATH or mongodb://… .
    #[arg(long, env = "EVERGRANT_MIGRATE_TO", hide_env_values = true)]
    #[arg(required_unless_present = "to_file")]
    pub(crate) to: Option<SecretString>,
    /// A file that holds that URL.
    #[arg(long, conflicts_with = "to")]
    pub(crate) to_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProvidersCommand {
    /// List providers: whether they are open, and their limits.
    List,
    /// Send nothing to a provider. Its jobs wait; nothing is burned.
    Pause {
        /// The provider.
        name: ProviderId,
        /// For how long, such as 10m or 2h; until `resume` if not given.
        #[arg(long = "for", value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
        /// Why, for whoever looks at the list.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// End a pause, and a circuit that is open: the next job is sent at once.
    Resume {
        /// The provider.
        name: ProviderId,
    },
    /// Confirm that the grants which a provider calls dead are dead indeed. For an hour deaths are
    /// believed, however many there are, and the circuit closes.
    Confirm {
        /// The provider.
        name: ProviderId,
    },
    /// Set the limits that hold in place of those in the settings.
    Limit {
        /// The provider.
        name: ProviderId,
        /// All limits, such as 10/s,300/min.
        #[arg(value_delimiter = ',', required_unless_present = "reset", conflicts_with = "reset")]
        limits: Vec<Limit>,
        /// Go back to those in the settings.
        #[arg(long)]
        reset: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// List grants.
    List(TokensFilter),
    /// Show one grant.
    Show {
        /// The document's _id.
        id: DocumentId,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TokensFilter {
    /// Of this provider.
    #[arg(long)]
    provider: Option<ProviderId>,
    /// In this status: active, needs_reauth, failed, paused.
    #[arg(long)]
    status: Option<Status>,
    /// Of this user, by the application's user id.
    #[arg(long)]
    user: Option<String>,
    /// With this email address.
    #[arg(long)]
    email: Option<String>,
    /// At most so many.
    #[arg(long)]
    limit: Option<u64>,
}

impl From<TokensFilter> for GrantFilter {
    fn from(filter: TokensFilter) -> Self {
        let TokensFilter { provider, status, user, email, limit } = filter;
        Self { provider, status, user, email, limit }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Count dead letters by provider and reason.
    List {
        /// Of this provider only.
        #[arg(long)]
        provider: Option<ProviderId>,
    },
    /// Show dead letters one by one.
    Show {
        #[command(flatten)]
        filter: DlqFilter,
        /// At most so many.
        #[arg(long)]
        limit: Option<u64>,
    },
    /// Send dead letters back: their grants become active and are refreshed again.
    Redrive(Bulk),
    /// Remove dead letters for good. Their documents stay as they are.
    Discard(Bulk),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Bulk {
    #[command(flatten)]
    pub(crate) filter: DlqFilter,
    /// All of them. Needed if there is no filter.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only say how many match.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// At most so many.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// Don't ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DlqFilter {
    /// Of this provider.
    #[arg(long)]
    provider: Option<ProviderId>,
    /// With this reason, as `dlq list` names it.
    #[arg(long)]
    reason: Option<DeadReason>,
    /// Of this user, by the application's user id.
    #[arg(long)]
    user: Option<String>,
    /// Of the user with this email address.
    #[arg(long)]
    email: Option<String>,
    /// Of the document with this _id.
    #[arg(long)]
    id: Option<DocumentId>,
    /// Failed last at this time or later (2026-01-31T12:00:00Z).
    #[arg(long)]
    since: Option<Timestamp>,
    /// Failed last at this time or earlier.
    #[arg(long)]
    until: Option<Timestamp>,
}

impl From<DlqFilter> for LetterFilter {
    fn from(filter: DlqFilter) -> Self {
        let DlqFilter { provider, reason, user, email, id, since, until } = filter;
        Self { provider, reason, user, email, id, since, until }
    }
}
