//! A provider as it is set up.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::preset::Preset;
use evergrant_settings::{ConfigError, secret};

use crate::ProviderConfig;
use crate::token_url::is_token_url_safe;
use evergrant_domain::classify::Dialect;
use evergrant_domain::ladder::Ladder;
use evergrant_domain::limit::{Limit, contradiction};
use evergrant_domain::schedule::Schedule;
use evergrant_domain::weigh::WatchSettings;
use evergrant_domain::{Policy, ProviderId, Secrets};

/// How a client authenticates at the token endpoint (RFC 6749 §2.3.1). Exactly one way is used:
/// some providers refuse a request with two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// The `Authorization` header.
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
    /// A public client: `client_id` in the body, no secret.
    None,
}

/// A provider as it is set up: its preset and what the settings override.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name.
    pub id: ProviderId,
    /// Where tokens are exchanged.
    pub token_url: Url,
    /// Our client's id.
    pub client_id: String,
    /// Our client's secret. None for a public client, and where a process that exchanges nothing was not given
    /// it.
    pub client_secret: Option<SecretString>,
    /// How our client authenticates.
    pub client_auth: ClientAuth,
    /// The scope to ask for; None keeps the grant's.
    pub scope: Option<String>,
    /// How long an answer may take, connecting included.
    pub request_timeout: Duration,
    /// The rate limits, all of which are kept.
    pub limits: Vec<Limit>,
    /// How it differs from RFC 6749.
    pub dialect: Dialect,
    /// What its grants are decided by.
    pub policy: Policy,
    /// When its answers are taken for what they say.
    pub watch: WatchSettings,
}

impl Provider {
    /// What no word about an exchange of this token may hold.
    pub fn secrets<'a>(&'a self, refresh_token: &'a SecretString) -> Secrets<'a> {
        Secrets::sent(refresh_token, &self.client_id, self.client_secret.as_ref())
    }

    /// That tokens can be exchanged there: that there is a secret, if our client needs one.
    ///
    /// # Errors
    /// If there is none.
    pub fn require_secret(&self) -> Result<(), ConfigError> {
        if self.client_secret.is_some() || self.client_auth == ClientAuth::None {
            return Ok(());
        }
        Err(ConfigError::missing(
            format!("providers.{}.client_secret", self.id),
            "name its file in client_secret_file, give it in the environment, or set \
             client_auth = \"none\" for a public client",
        ))
    }

    /// The provider of a section of the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or wrong.
    pub fn of_config(
        id: ProviderId,
        config: &ProviderConfig,
        ladder: Ladder,
    ) -> Result<Self, ConfigError> {
        let preset = config.preset.preset();
        let setting = |name: &str| format!("providers.{id}.{name}");
        let client_auth = config.client_auth.unwrap_or(preset.client_auth);
        let request_timeout = config.request_timeout.unwrap_or(Duration::from_secs(10));
        if !(Duration::from_millis(100)..=Duration::from_secs(300)).contains(&request_timeout) {
            let reason = "it must be from 100ms to 5min";
            return Err(ConfigError::invalid(setting("request_timeout"), reason));
        }
        let max_attempts = config.max_attempts.unwrap_or(20);
        if max_attempts == 0 {
            return Err(ConfigError::invalid(setting("max_attempts"), "it must be at least 1"));
        }
        Ok(Self {
            token_url: token_url(config, &preset, &setting("token_url"))?,
            client_id: config.client_id.clone().filter(|id| !id.is_empty()).ok_or_else(|| {
                ConfigError::missing(
                    setting("client_id"),
                    "the provider gave it to your application",
                )
            })?,
            client_secret: client_secret(config, &setting("client_secret"))?,
            client_auth,
            scope: config.scope.clone(),
            request_timeout,
            limits: limits(config, &preset, &setting("limits"))?,
            dialect: dialect(config, preset.dialect.clone()),
            policy: Policy {
                schedule: schedule(config, &preset, &setting)?,
                ladder,
                max_attempts,
                max_pause: config.max_pause.unwrap_or(Duration::from_secs(3_600)),
                sealed_tokens: config.sealed_tokens.unwrap_or_default(),
            },
            watch: watch(config, &setting)?,
            id,
        })
    }
}

fn token_url(config: &ProviderConfig, preset: &Preset, setting: &str) -> Result<Url, ConfigError> {
    let text = config.token_url.as_deref().or(preset.token_url).ok_or_else(|| {
        ConfigError::missing(setting, "the URL of the provider's token endpoint, https://…")
    })?;
    let wrong = |reason| Err(ConfigError::invalid(setting, reason));
    let Some(url) = Url::parse(text).ok().filter(Url::has_host) else {
        return wrong("it must be a URL that begins with https://");
    };
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return wrong("it must hold neither a user nor a password nor a #");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_token_url_safe(&url) || config.allow_http == Some(true) => Ok(url),
        _ => wrong(
            "it must begin with https://, since refresh tokens and the client's secret are sent there. \
             http:// is for this machine, or for a simulator with allow_http = true in its section",
        ),
    }
}

fn client_secret(
    config: &ProviderConfig,
    setting: &str,
) -> Result<Option<SecretString>, ConfigError> {
    match &config.client_secret_file {
        Some(file) => secret::of_file(file, &format!("{setting}_file")).map(Some),
        None => Ok(config.client_secret.clone()),
    }
}

fn limits(
    config: &ProviderConfig,
    preset: &Preset,
    setting: &str,
) -> Result<Vec<Limit>, ConfigError> {
    let known = || preset.limits.iter().filter_map(|limit| limit.parse().ok()).collect();
    let limits: Vec<Limit> = config.limits.clone().unwrap_or_else(known);
    match contradiction(&limits) {
        None => Ok(limits),
        Some(contradiction) => Err(ConfigError::invalid(setting, contradiction.to_string())),
    }
}

fn dialect(config: &ProviderConfig, preset: Dialect) -> Dialect {
    let more = |known: Vec<String>, more: &Option<Vec<String>>| {
        known.into_iter().chain(more.iter().flatten().cloned()).collect()
    };
    let more_texts = |known: Vec<String>, texts: &Option<Vec<String>>| {
        known.into_iter().chain(texts.iter().flatten().map(|text| text.to_lowercase())).collect()
    };
    Dialect {
        dead_codes: more(preset.dead_codes, &config.dead_codes),
        dead_texts: more_texts(preset.dead_texts, &config.dead_texts),
        not_dead_texts: more_texts(preset.not_dead_texts, &config.not_dead_texts),
        throttle_codes: more(preset.throttle_codes, &config.throttle_codes),
        throttle_scope: config.throttle_scope.unwrap_or(preset.throttle_scope),
    }
}

fn schedule(
    config: &ProviderConfig,
    preset: &Preset,
    setting: &impl Fn(&str) -> String,
) -> Result<Schedule, ConfigError> {
    let refresh_after_percent = config.refresh_after_percent.unwrap_or(50);
    if !(1..=95).contains(&refresh_after_percent) {
        let reason = "it must be from 1 to 95";
        return Err(ConfigError::invalid(setting("refresh_after_percent"), reason));
    }
    let jitter_percent = config.jitter_percent.unwrap_or(10.min(refresh_after_percent - 1));
    if jitter_percent >= refresh_after_percent {
        let reason = "it must be less than refresh_after_percent";
        return Err(ConfigError::invalid(setting("jitter_percent"), reason));
    }
    Ok(Schedule {
        keep: config.keep.unwrap_or(preset.keep),
        access_lifetime: config.access_lifetime.unwrap_or(preset.access_lifetime),
        refresh_idle_lifetime: config.refresh_idle_lifetime.or(preset.refresh_idle_lifetime),
        refresh_absolute_lifetime: config.refresh_absolute_lifetime,
        refresh_after_percent,
        jitter_percent,
        adopt: config.adopt.unwrap_or_default(),
    })
}

fn watch(
    config: &ProviderConfig,
    setting: &impl Fn(&str) -> String,
) -> Result<WatchSettings, ConfigError> {
    let default = WatchSettings::default();
    let mass_death_percent = config.mass_death_percent.unwrap_or(default.mass_death_percent);
    if !(1..=100).contains(&mass_death_percent) {
        let reason = "it must be from 1 to 100 (100 believes every death)";
        return Err(ConfigError::invalid(setting("mass_death_percent"), reason));
    }
    Ok(WatchSettings {
        death_recheck: config.death_recheck.unwrap_or(default.death_recheck),
        mass_death_percent,
        mass_death_min: config.mass_death_min.unwrap_or(default.mass_death_min).max(1),
        ..default
    })
}
