//! What is known of providers, so that an operator need not type it.

use std::time::Duration;

use serde::Deserialize;

use super::ClientAuth;
use evergrant_domain::classify::Dialect;
use evergrant_domain::schedule::Keep;

/// A provider that Evergrant knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresetName {
    /// Any provider that follows RFC 6749.
    #[default]
    Oauth2,
    /// Autodesk Platform Services, OAuth v2.
    Autodesk,
}

/// What is known of a provider. Every part can be overridden by the settings.
#[derive(Debug, Clone)]
pub(super) struct Preset {
    pub(super) token_url: Option<&'static str>,
    pub(super) client_auth: ClientAuth,
    pub(super) limits: &'static [&'static str],
    pub(super) keep: Keep,
    pub(super) access_lifetime: Duration,
    pub(super) refresh_idle_lifetime: Option<Duration>,
    pub(super) dialect: Dialect,
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

impl PresetName {
    pub(super) fn preset(self) -> Preset {
        match self {
            Self::Oauth2 => oauth2(),
            Self::Autodesk => autodesk(),
        }
    }
}

/// The rules of RFC 6749, and the words of many providers ([`evergrant_domain::vocabulary`]).
fn oauth2() -> Preset {
    Preset {
        token_url: None,
        client_auth: ClientAuth::Basic,
        limits: &["10/s"],
        keep: Keep::KeepAlive,
        access_lifetime: HOUR,
        refresh_idle_lifetime: Some(14 * DAY),
        dialect: Dialect::default(),
    }
}

/// Autodesk Platform Services: Basic client authentication, access tokens of an hour, refresh
/// tokens that die after 14 days unused (some documents say 15), rotation without a grace.
///
/// The endpoint takes 500 calls a minute from a client; sign-ins share them, so 50 are left.
fn autodesk() -> Preset {
    Preset {
        token_url: Some("https://developer.api.autodesk.com/authentication/v2/token"),
        limits: &["450/min"],
        ..oauth2()
    }
}
