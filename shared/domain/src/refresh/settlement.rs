//! What follows from an outcome, as data.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::also_write::FieldValues;
use super::schedule::RefreshTimes;
use crate::{DeadReason, GrantStatus, LastError, Timestamp};

/// What follows from an outcome. It is carried out in this order: the document is written, the job
/// is routed, and only then is the delivery acknowledged.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// What the document becomes.
    pub write: DocumentWrite,
    /// Where the job goes.
    pub route: JobRoute,
    /// What the provider's circuit breaker is told.
    pub signal: BudgetSignal,
}

/// What a document becomes. Every write gives the lease back.
#[derive(Debug, Clone)]
pub enum DocumentWrite {
    /// New tokens: generation + 1, failures forgotten.
    Refresh {
        /// The new access token.
        access_token: SecretString,
        /// The new refresh token; None keeps the old one.
        refresh_token: Option<SecretString>,
        /// When this was, by the store's clock.
        refreshed_at: Timestamp,
        /// Expiries and the next due time.
        times: RefreshTimes,
        /// What else is written.
        also: FieldValues,
    },
    /// Still active, to be tried again.
    Postpone {
        /// Failed attempts since the last success.
        attempts: u32,
        /// See [`crate::Grant::in_doubt`].
        in_doubt: bool,
        /// See [`crate::Grant::questioned`].
        questioned: bool,
        /// When the present run of failures began.
        failing_since: Option<Timestamp>,
        /// What went wrong; None leaves what is there.
        last_error: Option<LastError>,
        /// When to try again; None leaves the schedule as it is.
        next_refresh_at: Option<Timestamp>,
        /// Until when a message for it is taken to be under way.
        queued_until: Timestamp,
    },
    /// No longer refreshed.
    End {
        /// [`GrantStatus::NeedsReauth`] or [`GrantStatus::Failed`].
        status: GrantStatus,
        /// Failed attempts since the last success.
        attempts: u32,
        /// When the present run of failures began.
        failing_since: Timestamp,
        /// Why.
        last_error: LastError,
        /// The [`crate::fingerprint::fingerprint`] of the token that died; None where there is no token.
        dead_fingerprint: Option<String>,
    },
    /// New to Evergrant and not due yet: the times of its tokens are written, and nothing was sent.
    Schedule(RefreshTimes),
    /// [`GrantStatus::NoToken`]: nothing to keep alive until a token comes.
    NoToken,
    /// No longer adopted: whose it is is to be found out anew.
    Unadopt,
}

impl DocumentWrite {
    /// The paths of what is written beside the tokens.
    pub fn also(&self) -> impl Iterator<Item = &String> {
        let also = match self {
            Self::Refresh { also, .. } => Some(also),
            _ => None,
        };
        also.into_iter().flat_map(FieldValues::keys)
    }
}

/// Where a job goes after its document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobRoute {
    /// Nowhere: it is done.
    Done,
    /// Back to the work queue after a delay, which is a rung of the ladder.
    Retry(Duration),
    /// To the dead letters.
    DeadLetter(DeadReason),
}

/// What a provider's circuit breaker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetSignal {
    /// The provider answered and accepts the client.
    Healthy,
    /// The answer, or its absence, says nothing about the provider as a whole.
    Neutral,
    /// Send nothing for this long.
    Pause(Duration),
    /// Stop until a probe succeeds: the provider rejects the client, or its answers are not
    /// believed.
    Trip(TripReason),
}

/// Why a provider's circuit opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TripReason {
    /// The provider rejects the client's settings.
    Misconfigured,
    /// Too many grants died at once.
    Suspicious,
    /// A success came whose tokens could not be found in the answer. Each further request would spend
    /// another token, so none is sent until an operator or changed settings say so.
    Unreadable,
}

impl TripReason {
    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Misconfigured => "misconfigured",
            Self::Suspicious => "suspicious",
            Self::Unreadable => "unreadable",
        }
    }
}
