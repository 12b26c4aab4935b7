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
    /// Show dead letters one by one, each with its whole history and its user.
    Show {
        #[command(flatten)]
        filter: DlqFilter,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// Send dead letters back: their grants become active and are refreshed again.
    Redrive(Bulk),
    /// Remove dead letters for good. Their documents stay as they are. A letter that holds new tokens
    /// (uncommitted_answer) stays unless you ask for it.
    Discard {
        #[command(flatten)]
        bulk: Bulk,
        /// Also discard letters that hold new tokens. These tokens are nowhere else: their users must
        /// sign in again.
        #[arg(long)]
        include_uncommitted_answers: bool,
    },
    /// Go on with a redrive or discard that was interrupted, failed, or whose process died.
    Resume {
        /// Its id in the audit record.
        id: String,
        /// Don't ask.
        #[arg(long)]
        yes: bool,
    },
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
    /// So many a second, evenly; as fast as it goes if not given.
    #[arg(long)]
    pub(crate) rps: Option<NonZeroU32>,
    /// Don't ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Why, for the audit record. Needed unless it is a dry run.
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
    /// Failed last at this time or later (2026-01-31T12:00:00Z, or so long ago: 2h).
    #[arg(long, value_parser = when)]
    since: Option<Timestamp>,
    /// Failed last at this time or earlier.
    #[arg(long, value_parser = when)]
    until: Option<Timestamp>,
    /// Of grants that live again, since their users have signed in or their deaths were taken back. They
    /// are left out otherwise.
    #[arg(long)]
    revived: bool,
}

impl From<DlqFilter> for LetterFilter {
    fn from(filter: DlqFilter) -> Self {
        let DlqFilter { provider, reason, user, email, id, since, until, revived } = filter;
        Self { provider, reason, user, email, id, since, until, revived }
    }
}
