//! Why a caller gets no token.

use std::time::Duration;

use evergrant_domain::{DocumentId, FailureKind, GrantStatus, StoredToken};
use evergrant_ports::StoreError;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request cannot be read; what would be right.
    BadRequest(String),
    /// There is no key in it, or one that is not valid.
    Unauthenticated,
    /// The key may not do this.
    Forbidden(&'static str),
    /// There is no such grant, or the key does not reach it: the two are not told apart.
    NotFound,
    /// The path is known, the method is not.
    WrongMethod,
    /// A user has several grants.
    Ambiguous(Vec<DocumentId>),
    /// There is nothing to hand out until somebody acts.
    Stopped {
        /// The grant.
        stored: Box<StoredToken>,
        /// What it is.
        status: GrantStatus,
        /// Where the user signs in again, where that is known.
        sign_in: Option<String>,
    },
    /// No token of this provider is valid for so long.
    LifetimeTooShort {
        /// How long an access token is valid.
        lifetime: Duration,
    },
    /// There is none now; there may be one later.
    Later {
        /// Why, by its name.
        why: LaterReason,
        /// After which time to ask again.
        retry_after: Duration,
        /// Why the last refresh failed, if it did.
        reason: Option<FailureKind>,
        /// The stored token, if it is still valid.
        token: Option<Box<StoredToken>>,
    },
}

/// Why there is no token now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaterReason {
    /// The document was not adopted yet.
    NotAdopted,
    /// The provider is paused, its circuit is open, or its budget has no slot for long.
    ProviderShut,
    /// The provider is not in the settings of this gateway.
    ProviderNotServed,
    /// The refresh failed, and is tried again.
    RefreshFailed,
    /// The refresh took longer than the caller waits.
    RefreshUnderWay,
    /// Too many refreshes are under way, the job queue is away, or the gateway is stopping.
    Busy,
    /// The store does not answer.
    StoreAway,
}

impl LaterReason {
    /// The name in answers and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotAdopted => "not_adopted",
            Self::ProviderShut => "provider_shut",
            Self::ProviderNotServed => "provider_not_served",
            Self::RefreshFailed => "refresh_failed",
            Self::RefreshUnderWay => "refresh_under_way",
            Self::Busy => "busy",
            Self::StoreAway => "store_away",
        }
    }

    /// The same in words.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::NotAdopted => "the document is new and was not taken up yet",
            Self::ProviderShut => {
                "nothing may be sent to the provider now: see evergrant providers list"
            }
            Self::ProviderNotServed => "this gateway has no settings of the grant's provider",
            Self::RefreshFailed => "the refresh failed and is tried again",
            Self::RefreshUnderWay => "the refresh has not ended yet",
            Self::Busy => {
                "nothing is refreshed now: too many refreshes are under way, the job queue is away, or this gateway is stopping"
            }
            Self::StoreAway => "the token store does not answer",
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a token cannot be read");
        Self::Later {
            why: LaterReason::StoreAway,
            retry_after: Duration::from_secs(1),
            reason: None,
            token: None,
        }
    }
}
