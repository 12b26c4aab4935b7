//! A grant: one user's tokens and what Evergrant knows about them.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::claim_note::ClaimNote;
use super::schedule::KnownEnds;
use crate::{DocumentId, ExchangeFailure, ProviderId, SealedForm, Timestamp};

/// One user's tokens at one provider, with Evergrant's state of them.
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
    /// When the schedule wants it refreshed.
    pub next_refresh_at: Timestamp,
    /// Failed attempts since the last success. A throttled attempt does not count.
    pub attempts: u32,
    /// When the present run of failures began.
    pub failing_since: Option<Timestamp>,
    /// An exchange of this very refresh token was sent, or may have been, and its answer was never
    /// seen: if the provider now calls the token dead, the answer was lost, not the grant revoked.
    pub in_doubt: bool,
    /// The provider has called this very refresh token dead, or refused it, and is asked again before
    /// that is believed.
    pub questioned: bool,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// What the store wants back with the commit.
    pub note: ClaimNote,
    /// When its access token expires, as the application tells of a document that is new to Evergrant.
    pub signed_in_until: Option<Timestamp>,
    /// How the application has sealed its refresh token, if it has.
    pub sealed: Option<SealedForm>,
    /// What else of the document the provider's address and requests need.
    pub fields: DocumentFields,
}

/// Texts of a document by their paths in it.
pub type DocumentFields = BTreeMap<String, String>;

/// Whether Evergrant keeps a grant alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantStatus {
    /// Refreshed on schedule.
    Active,
    /// The provider says that the grant is dead: the user must sign in again.
    NeedsReauth,
    /// Evergrant gave up: attempts exhausted, or a document that it cannot use.
    Failed,
    /// An operator asked Evergrant to leave it alone.
    Paused,
    /// The document holds no refresh token: there is nothing to keep alive until one comes.
    NoToken,
}

impl GrantStatus {
    /// All of them, in the order that operators want to see.
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
    /// Who holds it. Unique to the claim, so that a worker does not mistake another claim of its
    /// own for this one.
    pub owner: String,
    /// When it ends, by the store's clock.
    pub until: Timestamp,
    /// Who held it before and did not give it back, so has died, maybe with the provider's answer in
    /// its hands. None if it was free.
    pub taken_over: Option<PreviousOwner>,
}

/// Whose lease was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviousOwner {
    /// The claim of this owner, which had taken it over from nobody.
    Claim(String),
    /// More than one, or nobody knows.
    Unknown,
}

impl PreviousOwner {
    /// The process that held the lease, if it was one alone and is known.
    pub fn process(&self) -> Option<&str> {
        match self {
            Self::Claim(owner) => Some(process_of(owner)),
            Self::Unknown => None,
        }
    }
}

impl Lease {
    /// The owner that a claim of a process has: the process's name, which has no `/` in it, and what
    /// tells the claim from its others.
    pub fn owner_of(process: &str, provider: &ProviderId, claim: u64) -> String {
        format!("{process}/{provider}/{claim}")
    }

    /// The process that holds it.
    pub fn process(&self) -> &str {
        process_of(&self.owner)
    }
}

fn process_of(owner: &str) -> &str {
    owner.split('/').next().unwrap_or_default()
}

/// The last thing that went wrong with a grant. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// What kind of failure.
    pub reason: FailureKind,
    /// The HTTP status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The provider's error code, such as `invalid_grant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The provider's or our own words for people, without anything that looks like a token.
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
    /// The grant was asked for before its time.
    TooEarly,
    /// The request failed in a way that may pass.
    Transient,
    /// The provider refused it, and it is not known why.
    Refused,
    /// The request was sent and no usable answer came.
    Ambiguous,
    /// A success whose tokens could not be found in the answer, which is kept.
    Unreadable,
    /// The provider says that the grant is dead, and is asked again before that is believed.
    Unconfirmed,
    /// The provider says that the grant is dead.
    GrantDead,
    /// The provider says that the token is dead after an answer for it was lost.
    LostResponse,
    /// Deaths so many at once that they are not believed.
    Suspicious,
    /// The provider rejects the client, not the user.
    Misconfigured,
    /// A document or a message that cannot be used.
    Malformed,
    /// No request can be made for its document: a field is missing, or leads elsewhere.
    Unsendable,
    /// Another document had its refresh token first.
    Twin,
    /// The application has sealed its refresh token, so nothing was sent.
    SealedToken,
    /// The last attempt failed.
    AttemptsExhausted,
    /// New tokens exist, or may, that are not in the document yet: they wait in a dead letter or in a
    /// journal. The token in the document must not be sent.
    UncommittedAnswer,
}

impl FailureKind {
    /// Whether new tokens of the grant exist, or may, that are not in its document: the token that is there
    /// must not be sent.
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
    /// A grant that is due at `next_refresh_at`, for tests to change what they are about.
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
