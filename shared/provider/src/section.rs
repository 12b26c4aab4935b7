//! A provider's section of the settings. `default.toml` says what each setting means.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use evergrant_domain::SealedTokens;
use evergrant_domain::also_write::FieldSources;
use evergrant_domain::answer_form::AnswerForm;
use evergrant_domain::classify::{DialectRule, ThrottleScope};
use evergrant_domain::limit::RateLimit;
use evergrant_domain::scalar::ScalarText;
use evergrant_domain::schedule::{FirstRefresh, RefreshGoal};
use evergrant_settings::{ConfigError, duration};

use crate::{
    ClientAuth, ClientConfig, DEFAULT_PRESET, HostPattern, HttpConfig, RequestForm, TokenUrl,
};

/// A provider as the settings describe it. What is not given comes from the preset.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    #[serde(default = "default_preset")]
    pub preset: String,
    pub preset_file: Option<PathBuf>,
    pub token_url: Option<String>,
    pub token_hosts: Option<Vec<HostPattern>>,
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    #[serde(default)]
    pub field_defaults: BTreeMap<String, ScalarText>,
    pub allow_http: Option<bool>,
    pub client_id: Option<String>,
    pub client_secret: Option<SecretString>,
    pub client_secret_file: Option<PathBuf>,
    pub client_field: Option<String>,
    pub client_id_field: Option<String>,
    #[serde(default)]
    pub clients: BTreeMap<String, ClientConfig>,
    pub client_auth: Option<ClientAuth>,
    pub client_key_file: Option<PathBuf>,
    pub client_key_id: Option<String>,
    pub client_certificate_file: Option<PathBuf>,
    pub scope: Option<String>,
    pub limits: Option<Vec<RateLimit>>,
    pub keep: Option<RefreshGoal>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub access_lifetime: Option<Duration>,
    pub refresh_idle_lifetime: Option<TokenLifetime>,
    pub refresh_absolute_lifetime: Option<TokenLifetime>,
    pub rotation: Option<Rotation>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub rotation_grace: Option<Duration>,
    pub revocation_url: Option<String>,
    pub sign_in_url: Option<String>,
    pub refresh_after_percent: Option<u8>,
    pub jitter_percent: Option<u8>,
    pub adopt: Option<FirstRefresh>,
    pub max_attempts: Option<u32>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub max_pause: Option<Duration>,
    pub sealed_tokens: Option<SealedTokens>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub request_timeout: Option<Duration>,
    #[serde(default)]
    pub http: HttpConfig,
    pub dead_codes: Option<Vec<String>>,
    pub dead_texts: Option<Vec<String>>,
    pub not_dead_texts: Option<Vec<String>>,
    pub throttle_codes: Option<Vec<String>>,
    pub throttle_scope: Option<ThrottleScope>,
    #[serde(default)]
    pub request: RequestForm,
    #[serde(default)]
    pub answer: AnswerForm,
    #[serde(default)]
    pub also_write: FieldSources,
    #[serde(default)]
    pub meaning: Vec<DialectRule>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub death_recheck: Option<Duration>,
    pub mass_death_percent: Option<u8>,
    pub mass_death_min: Option<usize>,
}

impl ProviderConfig {
    /// That the token URL leads to a host that tokens may be sent to.
    pub(crate) fn check_hosts(&self) -> Result<(), ConfigError> {
        let Some(url) = &self.token_url else { return Ok(()) };
        let hosts = self.token_hosts.as_deref().unwrap_or_default();
        TokenUrl::read("token_url", url, hosts, self.allow_http == Some(true))
            .map(drop)
            .map_err(|(name, reason)| ConfigError::invalid(name, reason))
    }
}

fn default_preset() -> String {
    DEFAULT_PRESET.to_owned()
}

/// How long a token lives: a duration, or `never` where it is known that it does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLifetime {
    Never,
    For(Duration),
}

impl TokenLifetime {
    pub(crate) const fn limit(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::For(life) => Some(life),
        }
    }
}

impl<'de> Deserialize<'de> for TokenLifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self::Never);
        }
        humantime::parse_duration(&text).map(Self::For).map_err(|_| {
            serde::de::Error::custom("it must be a duration such as \"14days\", or \"never\"")
        })
    }
}

/// Whether a refresh gives another refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    Always,
    Sometimes,
    Never,
}

impl Rotation {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Sometimes => "sometimes",
            Self::Never => "never",
        }
    }
}
