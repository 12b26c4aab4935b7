//! The command line.

mod audit;
mod console;
mod dlq;
mod providers;
mod setup;
mod tokens;
mod transfer;
mod when;

use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use self::audit::{AuditArgs, AuditCommand};
pub(crate) use self::console::{ConsoleArgs, ConsoleCommand, UserCommand};
pub(crate) use self::dlq::DlqCommand;
pub(crate) use self::providers::{KnownCommand, ProvidersCommand, StandingCommand, TestArgs};
pub(crate) use self::setup::{DemoArgs, Faults, InitArgs, MigrateArgs, RunArgs, SecretIn};
pub(crate) use self::tokens::{TokensCommand, TokensWish};
pub(crate) use self::transfer::{BackupArgs, ExportArgs, ImportArgs};
use crate::output::Format;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 partly done, \
                          4 nothing matched, 130 interrupted. Data goes to standard output, words to standard error.";

/// Keeps OAuth 2.0 grants alive.
#[derive(Debug, Parser)]
#[command(name = "evergrant", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Configuration file (TOML) [default: evergrant.toml of this folder, if there is one]. Secrets come
    /// from it, from files that it names, or from the environment.
    #[arg(long, env = "EVERGRANT_CONFIG", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Output format: a table, one JSON document, or one JSON document per line.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Same as --output json.
    #[arg(long, global = true, conflicts_with = "output")]
    pub(crate) json: bool,
    /// Disable colours, as NO_COLOR in the environment does.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Log level on standard error: warn, info, debug [default: info for run, otherwise warn].
    #[arg(long, global = true)]
    pub(crate) log_level: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// The arguments of this process. Wrong ones end it, and so does a password among them.
    pub(crate) fn of_this_process() -> Self {
        let matches = Self::command().get_matches();
        let read =
            setup::refuse_passwords(&matches).and_then(|()| Self::from_arg_matches(&matches));
        read.unwrap_or_else(|error| error.exit())
    }

    /// How data is printed.
    pub(crate) const fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it: a simulated provider and some hundred users, all in this process.
    Demo(DemoArgs),
    /// Run a producer, workers, health and metrics in this process.
    Run(RunArgs),
    /// Write the settings for a provider, from answers or from flags, and create what they need.
    Init(InitArgs),
    /// Import token documents: JSON in any layout, extended JSON, output of MongoDB's shell, or CSV; also
    /// gzipped or in UTF-16. Existing documents keep Evergrant's state, and tokens that are newer than the
    /// file's.
    Import(ImportArgs),
    /// Export all token documents as JSON lines, TOKENS INCLUDED.
    Export(ExportArgs),
    /// Copy the SQLite file while it is in use, TOKENS INCLUDED.
    Backup(BackupArgs),
    /// Copy all documents from one store to another and compare the two. Rerun to resume.
    Migrate(MigrateArgs),
    /// Show grants (never their tokens), and refresh, pause, resume or forget them.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Show dead letters, send them back, or discard them.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Show providers, and pause, resume, probe or limit them. Workers follow within a second.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// List running and recently seen processes: release, machine, last heartbeat, in flight, rate.
    Workers,
    /// Show providers and processes live. Without a terminal, prints one block per refresh.
    Top {
        /// Time between two refreshes.
        #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
        every: Duration,
        /// Print once and exit.
        #[arg(long)]
        once: bool,
    },
    /// List what operators did, newest first: who, when, what, why, and the outcome. Or verify that no
    /// entry was changed.
    Audit(AuditArgs),
    /// Forecast the grants at the present limits, 7 and 30 days ahead. Exits with 3 if one would be lost.
    Plan,
    /// Serve the web console, or manage its users.
    Console(ConsoleArgs),
    /// Check settings, servers, providers and documents, and say what to do. Exits with 3 if something is
    /// wrong.
    Doctor {
        /// Also send each token endpoint one request with a made-up refresh token, to learn whether it
        /// accepts the client. It counts toward the provider's limit.
        #[arg(long)]
        try_client: bool,
    },
    /// Print the settings in force, without secrets; or the commented defaults.
    Config {
        /// Print the commented defaults instead.
        #[arg(long)]
        defaults: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write manual pages for all commands.
    Man {
        /// The folder to write to; it must exist.
        folder: PathBuf,
    },
    /// Exit with 0 if a URL answers with success, otherwise with 1 (for containers).
    Healthcheck {
        /// Such as http://127.0.0.1:9464/readyz.
        #[arg(long)]
        url: String,
    },
}
