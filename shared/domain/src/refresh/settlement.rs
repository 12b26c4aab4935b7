//! A settlement: what follows from an outcome, as data.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::also_write::FieldValues;
use super::schedule::RefreshTimes;
use crate::{DeadReason, GrantStatus, LastError, Timestamp};

/// What follows from an outcome. It is carried out in this order: the document is written, the job
/// is routed, and then the delivery is acknowledged.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The write to the document.
    pub write: DocumentWrite,
    /// The route of the job.
    pub route: JobRoute,
    /// The signal to the provider's circuit breaker.
    pub signal: BudgetSignal,
}

/// A write to a document. Every write releases the lease.
#[derive(Debug, Clone)]
pub enum DocumentWrite {
    /// New tokens: the generation rises by 1, and failures are cleared.
    Refresh {
        /// The new access token.
        access_token: SecretString,
        /// The new refresh token; None keeps the old one.
        refresh_token: Option<SecretString>,
        /// When it was refreshed, by the store's clock.
        refreshed_at: Timestamp,
        /// The expiry times and the next due time.
        times: RefreshTimes,
        /// Further values to be written.
        also: FieldValues,
    },
    /// Still active, to be retried.
    Postpone {
        /// Failed attempts since the last success.
        attempts: u32,
        /// See [`crate::Grant::in_doubt`].
        in_doubt: bool,
        /// See [`crate::Grant::questioned`].
        questioned: bool,
        /// When the present run of failures began.
        failing_since: Option<Timestamp>,
        /// The last failure; None leaves the stored one.
        last_error: Option<LastError>,
        /// When to retry; None leaves the schedule.
        next_refresh_at: Option<Timestamp>,
        /// Until when a message for it counts as under way.
        queued_until: Timestamp,
    },
    /// Not refreshed any more.
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
    /// New and not due yet: the times of its tokens are written, and nothing was sent.
    Schedule(RefreshTimes),
    /// [`GrantStatus::NoToken`]: the document holds no refresh token.
    NoToken,
    /// Not adopted any more: its provider has to be determined again.
    Unadopt,
}

impl DocumentWrite {
    /// The paths of further values that are written beside the tokens.
    pub fn also(&self) -> impl Iterator<Item = &String> {
        let also = match self {
            Self::Refresh { also, .. } => Some(also),
            _ => None,
        };
        also.into_iter().flat_map(FieldValues::keys)
    }
}

/// The route of a job after its document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobRoute {
    /// It is done.
    Done,
    /// Back to the work queue after a delay, which is a rung of the ladder.
    Retry(Duration),
    /// To the dead letters.
    DeadLetter(DeadReason),
}

/// A signal to a provider's circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetSignal {
    /// The provider answered and accepts the client.
    Healthy,
    /// The answer, or its absence, says nothing about the provider as a whole.
    Neutral,
    /// Send nothing for this long.
    Pause(Duration),
    /// Open the circuit until a probe succeeds: the provider rejects the client, or its answers are
    /// not believed.
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
    /// A success whose tokens were not found in the answer. Each further request would spend
    /// another token, so none is sent until an operator or changed settings allow it.
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
