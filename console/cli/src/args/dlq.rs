//! `evergrant dlq`

use std::num::NonZeroU32;

use clap::{Args as ClapArgs, Subcommand};
use evergrant_domain::{DeadReason, DocumentId, ProviderId, Timestamp};

use super::when::when;
use crate::dlq::BulkWish;
use evergrant_operations::bulk::BulkKind;
use evergrant_operations::letters::LetterFilter;

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Count dead letters by provider and reason.
    List(DlqFilter),
    /// Show dead letters one by one, with history and user.
    Show {
        #[command(flatten)]
        filter: DlqFilter,
        /// Maximum number.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Send dead letters back: their grants become active and are refreshed.
    Redrive(Bulk),
    /// Remove dead letters for good. Documents are not changed. Letters that hold new tokens
    /// (uncommitted_answer) stay unless you ask for them.
    Discard {
        #[command(flatten)]
        bulk: Bulk,
        /// Also discard letters that hold new tokens. Nobody else has these tokens: the users must sign in
        /// again.
        #[arg(long)]
        include_uncommitted_answers: bool,
    },
    /// Resume a redrive or discard that was interrupted or failed, or whose process died.
    Resume {
        /// Its id in the audit record.
        id: String,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Bulk {
    #[command(flatten)]
    pub(crate) filter: DlqFilter,
    /// All letters; required if there is no filter.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only count the matches.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Maximum number.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// Rate per second, evenly spaced [default: unlimited].
    #[arg(long)]
    pub(crate) rps: Option<NonZeroU32>,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Reason, for the audit record; required unless it is a dry run.
    #[arg(long)]
    pub(crate) why: Option<String>,
}

impl Bulk {
    pub(crate) fn wish(self, kind: BulkKind) -> BulkWish {
        let Self { filter, all, dry_run, limit, rps, yes, why } = self;
        let (filter, per_second, uncommitted_answers) = (filter.into(), rps, false);
        BulkWish { kind, filter, all, dry_run, uncommitted_answers, limit, per_second, yes, why }
    }
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
    /// Last failed at this time or later (2026-01-31T12:00:00Z, or a duration ago such as 2h).
    #[arg(long, value_parser = when)]
    since: Option<Timestamp>,
    /// Last failed at this time or earlier.
    #[arg(long, value_parser = when)]
    until: Option<Timestamp>,
    /// Of grants that are active again, because the user signed in or the death was revoked. Left out by
    /// default.
    #[arg(long)]
    revived: bool,
}

impl From<DlqFilter> for LetterFilter {
    fn from(filter: DlqFilter) -> Self {
        let DlqFilter { provider, reason, user, email, id, since, until, revived } = filter;
        Self { provider, reason, user, email, id, since, until, revived }
    }
}
