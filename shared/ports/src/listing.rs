//! Listings of grants for operators.

use evergrant_domain::{DocumentId, FailureKind, GrantStatus, LastError, ProviderId, Timestamp};

/// Selects grants. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantFilter {
    /// Of this provider.
    pub provider: Option<ProviderId>,
    /// In this status.
    pub status: Option<GrantStatus>,
    /// Of this user, by the application's user id.
    pub user: Option<String>,
    /// With this email address.
    pub email: Option<String>,
    /// With an email address that begins like this.
    pub email_prefix: Option<String>,
    /// Due at this time or earlier. Only active grants, unless a status is given.
    pub due_by: Option<Timestamp>,
    /// With a refresh token that dies at this time or earlier without an exchange. Only active
    /// grants, unless a status is given.
    pub expires_by: Option<Timestamp>,
    /// After this place: the next page.
    pub after: Option<GrantPlace>,
    /// The most grants.
    pub limit: Option<u64>,
}

/// The order of a listing; each is that of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantOrder {
    /// By `_id`.
    Id,
    /// Soonest due first; grants due at the same time are in an arbitrary but fixed order.
    Due,
    /// By the death of the refresh token, the earliest first; ties as in [`Self::Due`].
    Expiry,
    /// By email address, then `_id`.
    Email,
}

impl GrantOrder {
    /// Whether the order is by a time. The index of such an order begins with the provider and the
    /// status.
    pub const fn is_by_time(self) -> bool {
        matches!(self, Self::Due | Self::Expiry)
    }
}

impl GrantFilter {
    /// The order of this selection.
    pub const fn order(&self) -> GrantOrder {
        if self.due_by.is_some() {
            GrantOrder::Due
        } else if self.expires_by.is_some() {
            GrantOrder::Expiry
        } else if self.email_prefix.is_some() {
            GrantOrder::Email
        } else {
            GrantOrder::Id
        }
    }

    /// The status that is selected.
    pub fn status_wanted(&self) -> Option<GrantStatus> {
        self.status.or(self.order().is_by_time().then_some(GrantStatus::Active))
    }

    /// Whether a grant matches the times and the beginning of the address. Stores match the other
    /// fields by their indexes.
    pub fn matches_view(&self, grant: &GrantView) -> bool {
        let by = |wanted: Option<Timestamp>, found: Option<Timestamp>| {
            wanted.is_none_or(|wanted| found.is_some_and(|found| found <= wanted))
        };
        let begins = |prefix: &String| {
            grant.email.as_ref().is_some_and(|email| email.starts_with(prefix.as_str()))
        };
        by(self.due_by, grant.next_refresh_at)
            && by(self.expires_by, grant.refresh_idle_until)
            && self.email_prefix.as_ref().is_none_or(begins)
    }
}

/// The place where a page of a listing ends. As text it is JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GrantPlace {
    /// The last document of the page.
    pub id: DocumentId,
    /// When it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When its refresh token dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Its email address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl GrantPlace {
    /// The place of a grant in a listing of this order.
    pub fn from_grant(grant: &GrantView, order: GrantOrder) -> Self {
        let place = Self { id: grant.id.clone(), due: None, expires: None, email: None };
        match order {
            GrantOrder::Id => place,
            GrantOrder::Due => Self { due: grant.next_refresh_at, ..place },
            GrantOrder::Expiry => Self { expires: grant.refresh_idle_until, ..place },
            GrantOrder::Email => Self { email: grant.email.clone(), ..place },
        }
    }
}

impl std::fmt::Display for GrantPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl std::str::FromStr for GrantPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text).map_err(|_| "not a place in a listing: begin at its first page")
    }
}

/// A grant as operators see it, without any token or anything derived from one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct GrantView {
    /// The document.
    pub id: DocumentId,
    /// The application's user id.
    pub user: Option<String>,
    /// The user's email address.
    pub email: Option<String>,
    /// The provider. None for a document that is not adopted yet.
    pub provider: Option<ProviderId>,
    /// The status. None for a document that is not adopted yet.
    pub status: Option<GrantStatus>,
    /// How many times it was refreshed.
    pub generation: u64,
    /// When it was last refreshed.
    pub refreshed_at: Option<Timestamp>,
    /// When the access token expires.
    pub access_expires_at: Option<Timestamp>,
    /// When the refresh token dies without an exchange.
    pub refresh_idle_until: Option<Timestamp>,
    /// When the grant ends in any case.
    pub refresh_absolute_until: Option<Timestamp>,
    /// When it is due.
    pub next_refresh_at: Option<Timestamp>,
    /// Until when a job for it counts as under way.
    pub queued_until: Option<Timestamp>,
    /// When its lease ends, if one is held.
    pub leased_until: Option<Timestamp>,
    /// Failed attempts since the last success.
    pub attempts: u32,
    /// When the present run of failures began.
    pub failing_since: Option<Timestamp>,
    /// Whether an answer for its present refresh token may be lost.
    pub in_doubt: bool,
    /// The last failure.
    pub last_error: Option<LastError>,
}

impl GrantView {
    /// Whether it waits because the application has encrypted its refresh token.
    pub fn is_held_as_sealed(&self) -> bool {
        let reason = self.last_error.as_ref().map(|error| error.reason);
        self.status == Some(GrantStatus::Active) && reason == Some(FailureKind::SealedToken)
    }

    /// Whether its new tokens are in a dead letter or a journal: sending the old one would lose
    /// them.
    pub fn waits_for_answer(&self) -> bool {
        let reason = self.last_error.as_ref().map(|error| error.reason);
        self.status == Some(GrantStatus::Failed)
            && reason.is_some_and(FailureKind::waits_for_answer)
    }
}
