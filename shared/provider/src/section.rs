//! The section of a provider in the settings. The commented default says what each setting means.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::path::PathBuf;
use std::time::Duration;

use evergrant_domain::SealedTokens;
use evergrant_domain::classify::ThrottleScope;
use evergrant_domain::limit::Limit;
use evergrant_domain::schedule::{Adopt, Keep};
use evergrant_settings::duration;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{ClientAuth, PresetName};

/// A provider as the settings describe it. What is not given comes from the preset.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    #[serde(default)]
    pub preset: PresetName,
    pub token_url: Option<String>,
    pub allow_http: Option<bool>,
    pub client_id: Option<String>,
    pub client_secret: Option<SecretString>,
    pub client_secret_file: Option<PathBuf>,
    pub client_auth: Option<ClientAuth>,
    pub scope: Option<String>,
    pub limits: Option<Vec<Limit>>,
    pub keep: Option<Keep>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub access_lifetime: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub refresh_idle_lifetime: Option<Duration>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub refresh_absolute_lifetime: Option<Duration>,
    pub refresh_after_percent: Option<u8>,
    pub jitter_percent: Option<u8>,
    pub adopt: Option<Adopt>,
    pub max_attempts: Option<u32>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub max_pause: Option<Duration>,
    pub sealed_tokens: Option<SealedTokens>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub request_timeout: Option<Duration>,
    pub dead_codes: Option<Vec<String>>,
    pub dead_texts: Option<Vec<String>>,
    pub not_dead_texts: Option<Vec<String>>,
    pub throttle_codes: Option<Vec<String>>,
    pub throttle_scope: Option<ThrottleScope>,
    #[serde(default, deserialize_with = "duration::optional")]
    pub death_recheck: Option<Duration>,
    pub mass_death_percent: Option<u8>,
    pub mass_death_min: Option<usize>,
}
