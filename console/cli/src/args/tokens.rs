//! `evergrant tokens`

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId, Timestamp};
use evergrant_ports::{GrantFilter, GrantPlace};

use crate::tokens::ActCommand;

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// List grants.
    List(Box<TokensFilter>),
    /// Count grants by provider and status.
    Count,
    /// Show one grant and its history.
    Show {
        /// The document's _id.
        id: DocumentId,
    },
    #[command(flatten)]
    Act(ActCommand),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TokensFilter {
    /// Of this provider.
    #[arg(long)]
    provider: Option<ProviderId>,
    /// In this status: active, needs_reauth, failed, paused, no_token.
    #[arg(long)]
    status: Option<GrantStatus>,
    /// Of this user, by the application's user id.
    #[arg(long)]
    user: Option<String>,
    /// With this email address.
    #[arg(long)]
    email: Option<String>,
    /// Whose email address begins with this.
    #[arg(long, conflicts_with = "email")]
    email_prefix: Option<String>,
    /// Due within this duration, such as 1h; 0s for those due now. Soonest first.
    #[arg(long, value_parser = humantime::parse_duration)]
    due_within: Option<Duration>,
    /// Whose refresh token expires within this duration unless it is exchanged. Soonest due first.
    #[arg(long, value_parser = humantime::parse_duration)]
    expires_within: Option<Duration>,
    /// Continue after this place, as the previous page printed it.
    #[arg(long)]
    after: Option<GrantPlace>,
    /// Maximum number.
    #[arg(long)]
    limit: Option<u64>,
}

impl TokensFilter {
    /// The same at a time of the store's clock.
    pub(crate) fn at(self, now: Timestamp) -> GrantFilter {
        let Self { provider, status, user, email, email_prefix, .. } = self;
        GrantFilter {
            provider,
            status,
            user,
            email,
            email_prefix,
            due_by: self.due_within.map(|within| now.plus(within)),
            expires_by: self.expires_within.map(|within| now.plus(within)),
            after: self.after,
            limit: self.limit,
        }
    }
}
