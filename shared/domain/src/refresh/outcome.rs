//! What an exchange at the token endpoint came to.

use std::time::Duration;

use secrecy::{SecretSlice, SecretString};

use super::also_write::FieldValues;
use super::expiry::ToldEnds;

/// What an exchange came to. [`super::classify::classify`] reads it from the answer, [`super::weigh`] changes it
/// by what others were answered, and [`super::decide::decide`] turns it into what happens.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// New tokens.
    Refreshed(NewTokens),
    /// The provider asked to slow down; it proves nothing about the grant. With it, how many different
    /// grants were throttled in a row, this one included; 0 where nobody else is meant.
    Throttled(ExchangeFailure, u32),
    /// This grant was asked for before its time; it proves nothing about it.
    TooEarly(ExchangeFailure),
    /// It failed in a way that may pass, and the refresh token was not spent.
    Transient(ExchangeFailure),
    /// The provider refused it, and what it said may be meant for this grant or for our client.
    Refused(ExchangeFailure, RefusalScope),
    /// The request was sent and no usable answer came: the refresh token may be spent.
    Ambiguous(ExchangeFailure),
    /// An answer of success whose tokens are not where they are looked for: the refresh token is spent,
    /// and the new one is in the body, which is kept.
    Unreadable(ExchangeFailure, SecretSlice<u8>),
    /// An answer of success without anything in it that could be read, from a provider none of whose
    /// answers ever was.
    Blank(ExchangeFailure),
    /// The provider says that the grant is dead, or refuses it. It is asked again after this time before
    /// that is believed.
    Unconfirmed(ExchangeFailure, Duration),
    /// The provider says that the grant is dead.
    GrantDead(ExchangeFailure),
    /// The provider says that the grant is dead, of so many at once that it is not believed.
    Suspicious(ExchangeFailure),
    /// The provider refuses everybody: it rejects the client, not the user.
    Misconfigured(ExchangeFailure),
    /// The same of the client of one tenant, while others have theirs.
    TenantRefused(ExchangeFailure),
}

/// Whom a refusal is about, as far as its code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalScope {
    /// It speaks of consent or of a right to the grant: if others succeed, the user or the tenant has
    /// to grant it anew.
    Consent,
    /// It speaks of our client, by a rule of the provider's.
    Client,
    /// It may be anything.
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

    /// What went wrong, if something did.
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
    /// When they end, where the provider tells it.
    pub ends: ToldEnds,
    /// What else is written to the document.
    pub also: FieldValues,
}

#[cfg(any(test, feature = "examples"))]
impl NewTokens {
    /// Tokens of which nothing else is known, for tests to change what they are about.
    pub fn example(access_token: &str, refresh_token: Option<&str>) -> Self {
        Self {
            access_token: access_token.into(),
            refresh_token: refresh_token.map(Into::into),
            ends: ToldEnds::default(),
            also: FieldValues::new(),
        }
    }
}

/// What is known about a failure. It holds nothing secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExchangeFailure {
    /// The HTTP status, if an answer came.
    pub http_status: Option<u16>,
    /// The provider's error code, cleaned by [`super::error_code::clean_code`].
    pub code: Option<String>,
    /// Words for people, cleaned by [`super::error_code::clean_description`].
    pub description: Option<String>,
    /// How long the provider asked to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl ExchangeFailure {
    /// A failure that is told in our own words.
    pub fn described(description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..Self::default() }
    }
}
