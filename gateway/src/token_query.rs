//! What a caller asks for, as query parameters say it.

use std::time::Duration;

use evergrant_domain::{StoredToken, TokenDemand};
use serde::Deserialize;

use crate::refusal::Refusal;

/// How long a token has to be valid if the caller does not say so: a request that takes longer is rare.
const USUAL_MIN_TTL: Duration = Duration::from_secs(60);

/// The query of a request for a token. Durations are written like `60s`, `5m` or `60` (seconds).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenQuery {
    min_ttl: Option<String>,
    wait: Option<String>,
    /// The user, where the path does not name the document.
    pub(crate) user: Option<String>,
    /// The user's email address, in place of the user.
    pub(crate) email: Option<String>,
    /// The provider, where a user has several grants.
    pub(crate) provider: Option<String>,
}

/// A query that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenWish {
    /// How long the token has to be valid, if the caller says so.
    pub(crate) min_ttl: Option<Duration>,
    /// How long the caller waits.
    pub(crate) wait: Option<Duration>,
    /// See [`TokenDemand::newer_than`].
    pub(crate) newer_than: Option<u64>,
}

impl TokenQuery {
    /// Refuses what does not fit a path that names the document.
    pub(crate) fn of_one_grant(self) -> Result<Self, Refusal> {
        if self.user.is_none() && self.email.is_none() && self.provider.is_none() {
            return Ok(self);
        }
        let what = "user, email and provider belong to /v1/token: the path names the grant";
        Err(Refusal::BadRequest(what.to_owned()))
    }

    /// Reads the durations.
    pub(crate) fn wish(&self) -> Result<TokenWish, Refusal> {
        Ok(TokenWish {
            min_ttl: duration("min_ttl", self.min_ttl.as_deref())?,
            wait: duration("wait", self.wait.as_deref())?,
            newer_than: None,
        })
    }
}

impl TokenWish {
    /// What is asked of this token. Without a word of the caller a token that lives shorter than usual
    /// has to be valid for half of its lifetime.
    pub(crate) fn demand(&self, stored: &StoredToken, assumed_lifetime: Duration) -> TokenDemand {
        let lifetime = stored.lifetime().unwrap_or(assumed_lifetime);
        let min_ttl = self.min_ttl.unwrap_or(USUAL_MIN_TTL.min(lifetime / 2));
        TokenDemand { min_ttl, newer_than: self.newer_than }
    }
}

fn duration(name: &'static str, text: Option<&str>) -> Result<Option<Duration>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let seconds = text.parse().ok().map(Duration::from_secs);
    let read = seconds.or_else(|| humantime::parse_duration(text).ok());
    let wrong = || Refusal::BadRequest(format!("{name} is a duration such as 60s, 5m or 60"));
    read.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_of_seconds_or_has_a_unit() {
        let read = |text| duration("wait", Some(text)).unwrap().unwrap();
        assert_eq!(read("60"), Duration::from_secs(60));
        assert_eq!(read("5m"), Duration::from_secs(300));
        assert_eq!(read("0"), Duration::ZERO);
        for wrong in ["", "-1", "soon", "1e9"] {
            assert!(duration("wait", Some(wrong)).is_err(), "{wrong}");
        }
    }
}
