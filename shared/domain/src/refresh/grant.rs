//! A grant: one user's tokens and what Evergrant knows about them.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::claim_note::ClaimNote;
use super::schedule::KnownEnds;
use crate::{DocumentId, ExchangeFailure, ProviderId, SealedForm, Timestamp};

/// One user's tokens at one provider, with Evergrant's state.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The document's `_id`.
    pub id: DocumentId,
    /// The provider that issued the tokens.
    pub provider: ProviderId,
    /// Whether Evergrant keeps this grant alive, and if not, why.
    pub status: GrantStatus,
    /// How many times Evergrant has refreshed it. A job of another generation is stale.
    pub generation: u64,
    /// The token to exchange.
    pub refresh_token: SecretString,
    /// When its tokens end, as far as that is known.
    pub ends: KnownEnds,
    /// When the schedule wants the next refresh.
    pub next_refresh_at: Timestamp,
    /// Failed attempts since the last success. A throttled attempt does not count.
    pub attempts: u32,
    /// When the present run of failures began.
    pub failing_since: Option<Timestamp>,
    /// Whether an answer for this very refresh token may be lost. If the provider now reports the
    /// token as dead, the answer was lost and the grant was not revoked.
    pub in_doubt: bool,
    /// Whether the provider has reported this very refresh token as dead, or refused it, and is
    /// asked again before that is believed.
    pub questioned: bool,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// What the store wants back with the commit.
    pub note: ClaimNote,
    /// For a document that is new to Evergrant: when its access token expires according to the
    /// application.
    pub signed_in_until: Option<Timestamp>,
    /// How the application has encrypted its refresh token, if it has.
    pub sealed: Option<SealedForm>,
    /// Other fields of the document that the provider's URL and requests need.
    pub fields: DocumentFields,
}

/// Texts of a document by their paths.
pub type DocumentFields = BTreeMap<String, String>;

/// What [`DocumentFields`] have for a value that is there but has no form as text, such as an object. It is
/// the name of no client, and no part of a request.
pub const NO_TEXT: &str = "\0";

/// Whether Evergrant keeps a grant alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantStatus {
    /// Refreshed on schedule.
    Active,
    /// The provider reports that the grant is dead: the user must sign in again.
    NeedsReauth,
    /// Evergrant gave up: attempts exhausted, or a document that it cannot use.
    Failed,
    /// An operator has paused it.
    Paused,
    /// The document holds no refresh token.
    NoToken,
}

impl GrantStatus {
    /// All statuses, in the order in which operators see them.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::NeedsReauth, Self::Failed, Self::Paused, Self::NoToken];

    /// The name in documents, on the command line and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NeedsReauth => "needs_reauth",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::NoToken => "no_token",
        }
    }
}

impl fmt::Display for GrantStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for GrantStatus {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|status| status.as_str() == name).ok_or_else(|| {
            "a status is active, needs_reauth, failed, paused or no_token".to_owned()
        })
    }
}

/// The right to exchange a document's token, held by one claim of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The owner, unique to the claim, so that a worker does not mistake another claim of its own
    /// for this one.
    pub owner: String,
    /// When it ends, by the store's clock.
    pub until: Timestamp,
    /// The previous owner, if it never released the lease: its process has died and may have
    /// received an answer. None if the lease was free.
    pub taken_over: Option<PreviousOwner>,
}

/// The owner of a lease that was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviousOwner {
    /// The claim of this owner, which itself had taken over from nobody.
    Claim(String),
    /// More than one, or unknown.
    Unknown,
}

impl PreviousOwner {
    /// The process that held the lease, if it is known and was the only one.
    pub fn process(&self) -> Option<&str> {
        match self {
            Self::Claim(owner) => Some(process_of(owner)),
            Self::Unknown => None,
        }
    }
}

impl Lease {
    /// The owner of a process's claim: the process's name, which contains no `/`, and what
    /// distinguishes the claim from its others.
    pub fn owner_of(process: &str, provider: &ProviderId, claim: u64) -> String {
        format!("{process}/{provider}/{claim}")
    }

    /// The process that holds the lease.
    pub fn process(&self) -> &str {
        process_of(&self.owner)
    }
}

fn process_of(owner: &str) -> &str {
    owner.split('/').next().unwrap_or_default()
}

/// The last failure of a grant. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The kind of failure.
    pub reason: FailureKind,
    /// The HTTP status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The provider's error code, such as `invalid_grant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The provider's or our own text, without anything that looks like a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

impl LastError {
    /// What a document keeps of a failure.
    pub fn from_failure(failure: &ExchangeFailure, reason: FailureKind, at: Timestamp) -> Self {
        Self {
            reason,
            http_status: failure.http_status,
            code: failure.code.clone(),
            description: failure.description.clone(),
            at,
        }
    }
}

/// Kinds of failure, as documents and metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The provider asked to slow down.
    Throttled,
    /// The request came too early.
    TooEarly,
    /// The request failed temporarily.
    Transient,
    /// The provider refused it for an unknown reason.
    Refused,
    /// The request was sent and no usable answer came.
    Ambiguous,
    /// A success whose tokens were not found in the answer, which is kept.
    Unreadable,
    /// The provider reports that the grant is dead, and is asked again before that is believed.
    Unconfirmed,
    /// The provider reports that the grant is dead.
    GrantDead,
    /// The provider reports that the token is dead, after an answer for it was lost.
    LostResponse,
    /// So many deaths at once that they are not believed.
    Suspicious,
    /// The provider rejects the client, not the user.
    Misconfigured,
    /// A document or a message that cannot be used.
    Malformed,
    /// No request can be made for its document: a field is missing, or leads to a foreign host.
    Unsendable,
    /// Another document had its refresh token first.
    Twin,
    /// The application has encrypted its refresh token, so it was not sent.
    SealedToken,
    /// The last attempt failed.
    AttemptsExhausted,
    /// New tokens exist, or may exist, that are not in the document yet: they are in a dead letter
    /// or a journal. The token in the document must not be sent.
    UncommittedAnswer,
}

impl FailureKind {
    /// Whether new tokens exist, or may exist, that are not in the document: its own token must not
    /// be sent.
    pub const fn waits_for_answer(self) -> bool {
        matches!(self, Self::UncommittedAnswer | Self::Unreadable)
    }

    /// The name in documents and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::TooEarly => "too_early",
            Self::Transient => "transient",
            Self::Refused => "refused",
            Self::Ambiguous => "ambiguous",
            Self::Unreadable => "unreadable",
            Self::Unconfirmed => "unconfirmed",
            Self::GrantDead => "grant_dead",
            Self::LostResponse => "lost_response",
            Self::Suspicious => "suspicious",
            Self::Misconfigured => "misconfigured",
            Self::Malformed => "malformed",
            Self::Unsendable => "unsendable",
            Self::Twin => "twin",
            Self::SealedToken => "sealed_token",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::UncommittedAnswer => "uncommitted_answer",
        }
    }
}

#[cfg(any(test, feature = "examples"))]
impl Grant {
    /// A grant that is due at `next_refresh_at`, as a basis for tests.
    pub fn example(next_refresh_at: Timestamp) -> Self {
        Self {
            id: DocumentId::Integer(1),
            provider: "p".parse().expect("p is a name"),
            status: GrantStatus::Active,
            generation: 4,
            refresh_token: "the-token".into(),
            ends: KnownEnds::default(),
            next_refresh_at,
            attempts: 0,
            failing_since: None,
            in_doubt: false,
            questioned: false,
            note: ClaimNote::default(),
            signed_in_until: None,
            sealed: None,
            fields: DocumentFields::new(),
            last_error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_grant_never_prints_its_token() {
        let grant = Grant::example(Timestamp::default());
        assert!(!format!("{grant:?}").contains(grant.refresh_token.expose_secret()));
    }

    #[test]
    fn names_in_code_and_in_documents_agree() {
        for status in GrantStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        for kind in
            [FailureKind::Throttled, FailureKind::SealedToken, FailureKind::UncommittedAnswer]
        {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
