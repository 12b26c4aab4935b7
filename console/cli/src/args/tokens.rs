//! `evergrant tokens`

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId, Timestamp};
use evergrant_ports::{GrantFilter, GrantPlace};

#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// List grants.
    List(Box<TokensFilter>),
    /// Count grants by provider and status.
    Count,
    /// Show one grant and what is known of its life.
    Show {
        /// The document's _id.
        id: DocumentId,
    },
    /// Have grants refreshed now, whether they are due or not. One that was given up is tried again.
    Refresh(TokensWish),
    /// Have active grants left alone until they are resumed.
    Pause(TokensWish),
    /// End a pause.
    Resume(TokensWish),
    /// Remove what Evergrant knows of grants. Their documents stay.
    Forget(TokensWish),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TokensWish {
    /// The documents' _ids.
    #[arg(required = true)]
    pub(crate) ids: Vec<DocumentId>,
    /// Why, for the audit record.
    #[arg(long, default_value = "")]
    pub(crate) why: String,
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
    /// With an email address that begins with this.
    #[arg(long, conflicts_with = "email")]
    email_prefix: Option<String>,
    /// Due within this time, such as 1h; 0s for those that are due now. The soonest first.
    #[arg(long, value_parser = humantime::parse_duration)]
    due_within: Option<Duration>,
    /// Whose refresh token dies within this time unless it is exchanged. The soonest due first.
    #[arg(long, value_parser = humantime::parse_duration)]
    expires_within: Option<Duration>,
    /// After the page that ended here, as that page says.
    #[arg(long)]
    after: Option<GrantPlace>,
    /// At most so many.
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
