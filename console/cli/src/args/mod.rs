//! The command line.

mod audit;
mod console;
mod dlq;
mod keys;
mod providers;
mod setup;
mod tokens;
mod transfer;
mod when;

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};

pub(crate) use self::audit::{AuditArgs, AuditCommand};
pub(crate) use self::console::{ConsoleArgs, ConsoleCommand, UserCommand};
pub(crate) use self::dlq::DlqCommand;
pub(crate) use self::keys::{KeyWish, KeysCommand};
pub(crate) use self::providers::{KnownCommand, ProvidersCommand, StandingCommand, TestArgs};
pub(crate) use self::setup::{DemoArgs, Faults, InitArgs, MigrateArgs, RunArgs, SecretIn};
pub(crate) use self::tokens::TokensCommand;
pub(crate) use self::transfer::{BackupArgs, ExportArgs, ImportArgs};
use crate::Command;
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
