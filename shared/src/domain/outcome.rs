//! What an exchange at the token endpoint came to.

use secrecy::SecretString;

/// What an exchange came to. [`super::decide()`] turns it into what happens.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// New tokens.
    Refreshed(NewTokens),
    /// The provider asked to slow down; it proves nothing about the grant.
    Throttled(Failure),
    /// It failed in a way that may pass, and the refresh token was not spent.
    Transient(Failure),
    /// The request was sent and no usable answer came: the refresh token may be spent.
    Ambiguous(Failure),
    /// The provider says that the grant is dead.
    GrantDead(Failure),
    /// The provider says that the grant is dead, of so many at once that it is not believed.
    Suspicious(Failure),
    /// The provider rejects the client, not the user.
    Misconfigured(Failure),
}

impl Outcome {
    /// The name in metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refreshed(_) => "refreshed",
            Self::Throttled(_) => "throttled",
            Self::Transient(_) => "transient",
            Self::Ambiguous(_) => "ambiguous",
            Self::GrantDead(_) => "grant_dead",
            Self::Suspicious(_) => "suspicious",
            Self::Misconfigured(_) => "misconfigured",
        }
    }

    /// What went wrong, if something did.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refreshed(_) => None,
            Self::Throttled(failure)
            | Self::Transient(failure)
            | Self::Ambiguous(failure)
            | Self::GrantDead(failure)
            | Self::Suspicious(failure)
            | Self::Misconfigured(failure) => Some(failure),
        }
    }
}

/// The tokens of a successful answer (RFC 6749 §5.1).
#[derive(Debug, Clone)]
pub struct NewTokens {
    /// The new access token.
    pub access_token: SecretString,
    /// The new refresh token. None means that the old one stays valid (RFC 6749 §6).
    pub refresh_token: Option<SecretString>,
    /// The access token's lifetime in seconds; only recommended by the RFC, so it may be missing.
    pub expires_in_s: Option<u64>,
    /// The refresh token's lifetime in seconds, where the provider tells it.
    pub refresh_expires_in_s: Option<u64>,
}

/// What is known about a failure. It holds nothing secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status, if an answer came.
    pub http_status: Option<u16>,
    /// The provider's error code, cleaned by [`super::error_code::clean_code`].
    pub code: Option<String>,
    /// Words for people, cleaned by [`super::error_code::clean_description`].
    pub description: Option<String>,
    /// How long the provider asked to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A failure that is told in our own words.
    pub fn described(description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..Self::default() }
    }
}
