//! `evergrant audit`

use clap::{Args as ClapArgs, Subcommand};
use evergrant_domain::audit::{AuditFilter, OperatorAction};
use evergrant_domain::{DocumentId, ProviderId, Timestamp};

use super::when::when;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verify that no entry was changed or removed, and print the hash of the last one. Exits with 3 if one
    /// was.
    Verify {
        /// A hash that an earlier check printed and that was kept elsewhere: it must still be there.
        #[arg(long)]
        known: Option<String>,
    },
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: Option<AuditCommand>,
    /// One entry, by its id.
    #[arg(long, conflicts_with_all = ["who", "action", "provider", "document", "since", "before"])]
    pub(crate) id: Option<String>,
    /// By this operator, as the list names them.
    #[arg(long)]
    who: Option<String>,
    /// Of this kind, as the list names it.
    #[arg(long)]
    action: Option<OperatorAction>,
    /// About this provider.
    #[arg(long)]
    provider: Option<ProviderId>,
    /// About the document with this _id.
    #[arg(long)]
    document: Option<DocumentId>,
    /// Begun at this time or later (2026-01-31T12:00:00Z, or a duration ago such as 2h).
    #[arg(long, value_parser = when)]
    since: Option<Timestamp>,
    /// Older than the entry with this id: the next page.
    #[arg(long)]
    before: Option<String>,
    /// Maximum number.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

impl From<AuditArgs> for AuditFilter {
    fn from(args: AuditArgs) -> Self {
        let AuditArgs { command: _, id: _, who, action, provider, document, since, before, limit } =
            args;
        Self { before, who, action, provider, document, since, limit }
    }
}
