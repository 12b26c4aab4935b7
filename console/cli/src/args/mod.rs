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
pub(crate) use self::providers::{KnownCommand, ProvidersCommand, StandingCommand};
pub(crate) use self::setup::{DemoArgs, Faults, InitArgs, MigrateArgs, RunArgs, SecretIn};
pub(crate) use self::tokens::{TokensCommand, TokensWish};
pub(crate) use self::transfer::{BackupArgs, ExportArgs, ImportArgs};
use crate::output::Format;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 partly done, \
                          4 nothing matched, 130 interrupted. Data goes to standard output, words to standard error.";

/// Keeps grants alive and looks after them.
#[derive(Debug, Parser)]
#[command(name = "evergrant", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Configuration file (TOML). Secrets come from it, from files it names, or the environment.
    #[arg(long, env = "EVERGRANT_CONFIG", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// How data is printed: a table for people, one JSON document, or a JSON document a line.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// The same as --output json.
    #[arg(long, global = true, conflicts_with = "output")]
    pub(crate) json: bool,
    /// No colours, as with NO_COLOR in the environment.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Log lines to show on standard error: warn, info, debug [default: info for run, else warn].
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
    /// See it work: a simulated provider, some hundred users, everything in this process.
    Demo(DemoArgs),
    /// Keep grants alive: a producer, workers, health and metrics in this process.
    Run(RunArgs),
    /// Write settings for a provider, after asking or from flags, and make what they need.
    Init(InitArgs),
    /// Put token documents into the store: JSON (lines, an array, laid out over lines), extended JSON and
    /// what MongoDB's shell prints, or a table (CSV); packed with gzip or in UTF-16, too. What exists keeps
    /// Evergrant's state, and newer tokens than those of the file.
    Import(ImportArgs),
    /// Write all token documents as JSON lines, TOKENS INCLUDED.
    Export(ExportArgs),
    /// Copy the SQLite file while it is in use, TOKENS INCLUDED.
    Backup(BackupArgs),
    /// Move all documents from one store to another, and compare the two. To start again goes on
    /// where it was.
    Migrate(MigrateArgs),
    /// See grants, without their tokens, and say what is done with one.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// See dead letters, send them back, or remove them.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// See providers, and say what holds for all workers within a second.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// List the processes that live or have lately: release, machine, last word, in flight, rate.
    Workers,
    /// See providers and processes live. On no terminal, a block of lines for each look.
    Top {
        /// The time from one look to the next.
        #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
        every: Duration,
        /// Look once.
        #[arg(long)]
        once: bool,
    },
    /// List what operators did, newest first: who, when, what, why, and what came of it. Or check that
    /// nothing of it was changed.
    Audit(AuditArgs),
    /// Say what will become of the grants at the present limits, for 7 and 30 days ahead. Exit code 3
    /// if one would be lost.
    Plan,
    /// Serve the operator's web console, or say who may log in to it.
    Console(ConsoleArgs),
    /// Say what can be reached, whether it is as it should be, and what to do. Exit code 3 if something
    /// is not.
    Doctor {
        /// Also send each token endpoint one request with a made-up refresh token, which tells whether it
        /// accepts the client. It counts toward the provider's limit.
        #[arg(long)]
        try_client: bool,
    },
    /// Print what makes a shell complete these commands.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the manual pages of all commands.
    Man {
        /// The folder that they go to; it must exist.
        folder: PathBuf,
    },
    /// Exit 0 if a URL answers with success, 1 if not (for containers).
    Healthcheck {
        /// Such as http://127.0.0.1:9464/readyz.
        #[arg(long)]
        url: String,
    },
}
