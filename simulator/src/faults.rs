//! What can go wrong on purpose, and how often.

use serde::{Deserialize, Serialize};

use crate::settings_error::SettingsError;

/// One way in which a request can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Http500,
    Http503,
    HtmlError,
    ResetBefore,
    ResetAfter,
    NoReply,
    TruncatedBody,
    OkWithError,
    ExpiresInString,
    ExpiresInMissing,
    NoNewRefreshToken,
    Throttle429,
    InvalidGrant,
    InvalidClient,
    EchoToken,
}

/// What a request does to its grant before any answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: the request fails before the provider's token store.
    Untouched,
    /// The token is exchanged as it should be.
    Exchange,
    /// The token is exchanged, but stays what it is where it can.
    ExchangeAndKeep,
    /// The grant dies.
    Kill,
}

impl Fault {
    /// What this fault does to the grant.
    pub(crate) fn effect(self) -> Effect {
        match self {
            Self::Http500
            | Self::Http503
            | Self::HtmlError
            | Self::ResetBefore
            | Self::Throttle429
            | Self::InvalidClient
            | Self::EchoToken => Effect::Untouched,
            Self::ResetAfter
            | Self::NoReply
            | Self::TruncatedBody
            | Self::ExpiresInString
            | Self::ExpiresInMissing => Effect::Exchange,
            Self::NoNewRefreshToken => Effect::ExchangeAndKeep,
            Self::OkWithError | Self::InvalidGrant => Effect::Kill,
        }
    }
}

/// The share of requests that meet each fault, from 0 to 1. A request meets one fault at most, so
/// the rates together are at most 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRates {
    /// 500 with `server_error`; the token is untouched.
    pub http_500: f64,
    /// 503, with a `Retry-After` if one is set; the token is untouched.
    pub http_503: f64,
    /// 502 with an HTML page, as a proxy in front would; the token is untouched.
    pub html_error: f64,
    /// The connection is reset; the token is untouched.
    pub reset_before: f64,
    /// The token is rotated, then the connection is reset.
    pub reset_after: f64,
    /// The token is rotated, and the reply never comes.
    pub no_reply: f64,
    /// The token is rotated, and half of the reply comes.
    pub truncated_body: f64,
    /// 200 with `bad_refresh_token` inside; the grant is dead.
    pub ok_with_error: f64,
    /// A good reply whose `expires_in` is a string.
    pub expires_in_string: f64,
    /// A good reply without `expires_in`.
    pub expires_in_missing: f64,
    /// A good reply without a refresh token; the one that was sent stays valid.
    pub no_new_refresh_token: f64,
    /// 429 although the limit is kept; the token is untouched.
    pub throttle_429: f64,
    /// The grant dies now, and the reply says so.
    pub invalid_grant: f64,
    /// 401 `invalid_client` although the client is right; the token is untouched.
    pub invalid_client: f64,
    /// 400 `temporarily_unavailable` whose words repeat the token and the client's secret, as they are and
    /// encoded; the token is untouched.
    pub echo_token: f64,
}

impl FaultRates {
    /// Each rate with the name of its setting.
    pub fn named(&self) -> [(&'static str, f64); 15] {
        [
            ("http_500", self.http_500),
            ("http_503", self.http_503),
            ("html_error", self.html_error),
            ("reset_before", self.reset_before),
            ("reset_after", self.reset_after),
            ("no_reply", self.no_reply),
            ("truncated_body", self.truncated_body),
            ("ok_with_error", self.ok_with_error),
            ("expires_in_string", self.expires_in_string),
            ("expires_in_missing", self.expires_in_missing),
            ("no_new_refresh_token", self.no_new_refresh_token),
            ("throttle_429", self.throttle_429),
            ("invalid_grant", self.invalid_grant),
            ("invalid_client", self.invalid_client),
            ("echo_token", self.echo_token),
        ]
    }

    /// The fault that a draw from `0.0..1.0` picks, or none.
    pub(crate) fn pick(&self, draw: f64) -> Option<Fault> {
        let mut edge = 0.0;
        for (fault, (_, rate)) in ALL.into_iter().zip(self.named()) {
            edge += rate;
            if draw < edge {
                return Some(fault);
            }
        }
        None
    }

    /// Every rate is a share, and together they are one at most.
    pub(crate) fn validate(&self) -> Result<(), SettingsError> {
        for (name, rate) in self.named() {
            if !(0.0..=1.0).contains(&rate) {
                return Err(SettingsError::Share { name, value: rate });
            }
        }
        let sum: f64 = self.named().iter().map(|(_, rate)| rate).sum();
        if sum > 1.0 + 1e-9 { Err(SettingsError::FaultSum { sum }) } else { Ok(()) }
    }
}

/// All faults, in the order of their definition and of [`FaultRates::named`].
pub(crate) const ALL: [Fault; 15] = [
    Fault::Http500,
    Fault::Http503,
    Fault::HtmlError,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::NoReply,
    Fault::TruncatedBody,
    Fault::OkWithError,
    Fault::ExpiresInString,
    Fault::ExpiresInMissing,
    Fault::NoNewRefreshToken,
    Fault::Throttle429,
    Fault::InvalidGrant,
    Fault::InvalidClient,
    Fault::EchoToken,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rate_takes_its_own_share_of_the_draws() {
        let rates = FaultRates { http_503: 0.25, invalid_client: 0.5, ..FaultRates::default() };
        assert_eq!(rates.pick(0.0), Some(Fault::Http503));
        assert_eq!(rates.pick(0.249), Some(Fault::Http503));
        assert_eq!(rates.pick(0.25), Some(Fault::InvalidClient));
        assert_eq!(rates.pick(0.75), None);
    }

    #[test]
    fn no_rates_mean_no_faults() {
        assert_eq!(FaultRates::default().pick(0.0), None);
    }

    #[test]
    fn the_names_are_those_of_the_settings() {
        let json = serde_json::to_value(FaultRates::default()).unwrap();
        let names: Vec<_> = FaultRates::default().named().iter().map(|(name, _)| *name).collect();
        assert_eq!(json.as_object().unwrap().len(), names.len());
        assert!(names.iter().all(|name| json.get(name).is_some()));
    }

    #[test]
    fn rates_that_are_no_shares_are_refused() {
        for bad in [-0.1, 1.1, f64::NAN] {
            assert!(FaultRates { http_500: bad, ..FaultRates::default() }.validate().is_err());
        }
        let rates = FaultRates { http_500: 0.6, http_503: 0.6, ..FaultRates::default() };
        assert!(rates.validate().is_err());
    }
}
