//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use evergrant_shared::domain::limit::Limit;
use evergrant_shared::domain::{DeadReason, DocumentId, ProviderId, Status, Timestamp};
use evergrant_shared::ports::GrantFilter;

use crate::dlq::LetterFilter;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 error, 2 wrong usage, 3 partly done, \
                          4 nothing matched. Data goes to standard output, words to standard error.";

/// Looks after grants: import, tokens, dead letters, providers, doctor.
#[derive(Debug, Parser)]
#[command(name = "evergrant", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Configuration file (TOML). Secrets come from it, from files it names, or the environment.
    #[arg(long, env = "EVERGRANT_CONFIG", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON: a document for a summary or a list of groups, a line for each of many.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log lines to show on standard error: warn, info, debug.
    #[arg(long, default_value = "warn", global = true)]
    pub(crate) log_level: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
    /// See grants, without their tokens.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// See dead letters, send them back, or remove them.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// See providers, and say what holds for all workers within a second.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// Say what can be reached and whether it is as it should be.
    Doctor,
    /// Exit 0 if a URL answers with success, 1 if not (for containers).
    Healthcheck {
        /// Such as http://127.0.0.1:9464/readyz.
        #[arg(long)]
        url: String,
    },
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
