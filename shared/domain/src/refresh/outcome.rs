//! The outcome of an exchange at the token endpoint.

use std::time::Duration;

use secrecy::{SecretSlice, SecretString};

use super::also_write::FieldValues;
use super::expiry::ToldEnds;

/// The outcome of an exchange. [`super::classify::classify`] reads it from the answer,
/// [`super::weigh`] adjusts it by the answers to other grants, and [`super::decide::decide`] turns
/// it into a settlement.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// New tokens.
    Refreshed(NewTokens),
    /// The provider asked to slow down; this proves nothing about the grant. The number counts the
    /// different grants throttled in a row, including this one; 0 if only this user is throttled, or the request found no free connection.
    Throttled(ExchangeFailure, u32),
    /// The request came too early; this proves nothing about the grant.
    TooEarly(ExchangeFailure),
    /// A temporary failure; the refresh token was not spent.
    Transient(ExchangeFailure),
    /// The provider refused the request. The refusal may be about this grant or about the client.
    Refused(ExchangeFailure, RefusalScope),
    /// The request was sent and no usable answer came: the refresh token may be spent.
    Ambiguous(ExchangeFailure),
    /// A success whose tokens are not where they are expected: the refresh token is spent, and the
    /// new one is in the body, which is kept.
    Unreadable(ExchangeFailure, SecretSlice<u8>),
    /// A success without any readable value, from a provider none of whose answers was ever
    /// readable.
    Blank(ExchangeFailure),
    /// The provider reports that the grant is dead, or refuses it. It is asked again after this
    /// time before that is believed.
    Unconfirmed(ExchangeFailure, Duration),
    /// The provider reports that the grant is dead.
    GrantDead(ExchangeFailure),
    /// The provider reports so many dead grants at once that it is not believed.
    Suspicious(ExchangeFailure),
    /// The provider refuses all grants: it rejects the client, not the user.
    Misconfigured(ExchangeFailure),
    /// The same for the client of one tenant, while others have their own.
    TenantRefused(ExchangeFailure),
}

/// What a refusal is about, as far as its code shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalScope {
    /// Consent, or a right to the grant: if others succeed, the user or the tenant has to consent
    /// again.
    Consent,
    /// The client, by a rule of the provider's dialect.
    Client,
    /// Unknown.
    Unclear,
}

impl Outcome {
    /// The name in metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refreshed(_) => "refreshed",
            Self::Throttled(..) => "throttled",
            Self::TooEarly(_) => "too_early",
            Self::Transient(_) => "transient",
            Self::Refused(..) => "refused",
            Self::Ambiguous(_) => "ambiguous",
            Self::Unreadable(..) => "unreadable",
            Self::Blank(_) => "blank",
            Self::Unconfirmed(..) => "unconfirmed",
            Self::GrantDead(_) => "grant_dead",
            Self::Suspicious(_) => "suspicious",
            Self::Misconfigured(_) => "misconfigured",
            Self::TenantRefused(_) => "tenant_refused",
        }
    }

    /// The failure, if there is one.
    pub const fn failure(&self) -> Option<&ExchangeFailure> {
        match self {
            Self::Refreshed(_) => None,
            Self::Throttled(failure, _)
            | Self::TooEarly(failure)
            | Self::Transient(failure)
            | Self::Refused(failure, _)
            | Self::Ambiguous(failure)
            | Self::Unreadable(failure, _)
            | Self::Blank(failure)
            | Self::Unconfirmed(failure, _)
            | Self::GrantDead(failure)
            | Self::Suspicious(failure)
            | Self::Misconfigured(failure)
            | Self::TenantRefused(failure) => Some(failure),
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
    /// When they end, if the provider reports it.
    pub ends: ToldEnds,
    /// Further values to be written to the document.
    pub also: FieldValues,
}

#[cfg(any(test, feature = "examples"))]
impl NewTokens {
    /// Tokens without further values, as a basis for tests.
    pub fn example(access_token: &str, refresh_token: Option<&str>) -> Self {
        Self {
            access_token: access_token.into(),
            refresh_token: refresh_token.map(Into::into),
            ends: ToldEnds::default(),
            also: FieldValues::new(),
        }
    }
}

/// What is known about a failure. It holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExchangeFailure {
    /// The HTTP status, if an answer came.
    pub http_status: Option<u16>,
    /// The provider's error code, cleaned by [`super::error_code::clean_code`].
    pub code: Option<String>,
    /// A text for people, cleaned by [`super::error_code::clean_description`].
    pub description: Option<String>,
    /// How long the provider asked to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl ExchangeFailure {
    /// A failure with our own description.
    pub fn described(description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..Self::default() }
    }
}
