//! A provider as it is set up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use evergrant_settings::{ConfigError, secret};

use super::assertion::AssertionKey;
use super::clients::{RegisteredClient, TenantClients};
use super::http_settings::{HttpConfig, HttpSettings};
use super::layers::file_of;
use super::preset::preset;
use super::request_form::RequestForm;
use super::section::{ProviderConfig, TokenLifetime};
use super::token_url::TokenUrl;
use evergrant_domain::classify::Dialect;
use evergrant_domain::ladder::Ladder;
use evergrant_domain::limit::{RateLimit, contradiction};
use evergrant_domain::scalar::ScalarText;
use evergrant_domain::schedule::{RefreshGoal, RefreshSchedule};
use evergrant_domain::weigh::WatchSettings;
use evergrant_domain::{DocumentFields, ExchangeSecrets, ProviderId, RefreshPolicy};

/// How a client authenticates at the token endpoint (RFC 6749 §2.3.1). Exactly one way is used:
/// some providers refuse a request with two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// The `Authorization` header.
    Basic,
    /// The same, for servers that don't decode what the RFC wants encoded.
    BasicRaw,
    /// The same, with the secret in the place of the id and nothing behind it.
    BasicSecretOnly,
    /// `client_id` and `client_secret` in the body.
    Body,
    /// A public client: `client_id` in the body, no secret.
    None,
    /// `client_id` in the body, and an assertion signed with our client's key (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// `client_id` in the body; the connection shows our client's certificate (RFC 8705 §2).
    Certificate,
}

impl ClientAuth {
    /// Whether it is done by the `Authorization` header.
    pub(super) const fn is_header(self) -> bool {
        matches!(self, Self::Basic | Self::BasicRaw | Self::BasicSecretOnly)
    }

    /// The name in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::BasicRaw => "basic_raw",
            Self::BasicSecretOnly => "basic_secret_only",
            Self::Body => "body",
            Self::None => "none",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::Certificate => "certificate",
        }
    }
}

/// What is assumed where neither the settings nor the preset know it: few providers give shorter access
/// tokens, and few let refresh tokens die sooner.
const ASSUMED_ACCESS_TTL: Duration = Duration::from_secs(3_600);
const ASSUMED_IDLE_TTL: Duration = Duration::from_secs(14 * 86_400);
const ASSUMED_LIMIT: &str = "10/s";

/// A provider as it is set up: its preset and what the settings override.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name.
    pub id: ProviderId,
    /// Where tokens are exchanged.
    pub token_url: TokenUrl,
    /// Where tokens are revoked, if that is known.
    pub revocation_url: Option<TokenUrl>,
    /// The paths in a document of the values that its address and its requests need, by their names, where
    /// a path is not the name.
    pub fields: BTreeMap<String, String>,
    /// The values for documents without them.
    pub field_defaults: DocumentFields,
    /// Our client. Its secret is None for a public client, and where a process that exchanges nothing was not
    /// given it. None where each document names one of `tenants`.
    pub client: Option<RegisteredClient>,
    /// The clients of tenants, where there are several.
    pub tenants: TenantClients,
    /// How our client authenticates.
    pub client_auth: ClientAuth,
    /// The key that signs our client's assertions.
    pub client_key: Option<AssertionKey>,
    /// Our client's certificate and its key, as PEM.
    pub client_certificate: Option<SecretString>,
    /// What its requests look like.
    pub request: RequestForm,
    /// The scope to ask for; None keeps the grant's.
    pub scope: Option<String>,
    /// How long an answer may take, connecting included.
    pub request_timeout: Duration,
    /// How it is reached.
    pub http: HttpSettings,
    /// The rate limits, all of which are kept.
    pub limits: Vec<RateLimit>,
    /// The settings of its lifetimes that neither the section nor its preset tells, so that they are assumed
    /// where its answers don't tell them either.
    pub assumed: Vec<&'static str>,
    /// How it differs from RFC 6749.
    pub dialect: Dialect,
    /// What its grants are decided by.
    pub policy: RefreshPolicy,
    /// When its answers are taken for what they say.
    pub watch: WatchSettings,
}

impl Provider {
    /// What no word about an exchange of this token, of a document with these fields, may hold.
    pub fn secrets<'a>(
        &'a self,
        refresh_token: &'a SecretString,
        fields: &DocumentFields,
    ) -> ExchangeSecrets<'a> {
        match self.client_of(fields) {
            Ok(client) => ExchangeSecrets::sent(refresh_token, &client.id, client.secret.as_ref()),
            // Nothing was sent.
            Err(_) => ExchangeSecrets::sent(refresh_token, "", None),
        }
    }

    /// That tokens can be exchanged there: that there is a secret, if our client needs one.
    ///
    /// # Errors
    /// If there is none.
    pub fn require_secret(&self) -> Result<(), ConfigError> {
        let own = self.client.iter().map(|client| (String::new(), client));
        let tenants = self.tenants.all().map(|(name, client)| (format!("clients.{name}."), client));
        let without = own.chain(tenants).find(|(_, client)| client.secret.is_none());
        let (is_there, file) = match self.client_auth {
            ClientAuth::None => return Ok(()),
            ClientAuth::PrivateKeyJwt => (self.client_key.is_some(), "client_key_file"),
            ClientAuth::Certificate => {
                (self.client_certificate.is_some(), "client_certificate_file")
            }
            _ => (without.is_none(), ""),
        };
        if is_there {
            return Ok(());
        }
        if !file.is_empty() {
            let reason = format!("client_auth = \"{}\" needs it", self.client_auth.as_str());
            return Err(ConfigError::missing(format!("providers.{}.{file}", self.id), reason));
        }
        Err(ConfigError::missing(
            format!(
                "providers.{}.{}client_secret",
                self.id,
                without.map_or_else(String::new, |it| it.0)
            ),
            "name its file in client_secret_file, give it in the environment, or set \
             client_auth = \"none\" for a public client",
        ))
    }

    /// The provider of a section of the settings; `http` is the section of how all are reached.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or wrong.
    pub fn of_config(
        id: ProviderId,
        config: &ProviderConfig,
        http: &HttpConfig,
        ladder: Ladder,
    ) -> Result<Self, ConfigError> {
        let setting = |name: &str| format!("providers.{id}.{name}");
        let request_timeout = config.request_timeout.unwrap_or(Duration::from_secs(10));
        if !(Duration::from_millis(100)..=Duration::from_secs(300)).contains(&request_timeout) {
            let reason = "it must be from 100ms to 5min";
            return Err(ConfigError::invalid(setting("request_timeout"), reason));
        }
        let max_attempts = config.max_attempts.unwrap_or(20);
        if max_attempts == 0 {
            return Err(ConfigError::invalid(setting("max_attempts"), "it must be at least 1"));
        }
        let token_url = token_url(config, &setting)?;
        let client = client(config, &setting)?;
        Ok(Self {
            token_url,
            revocation_url: revocation_url(config, &setting)?,
            fields: config.fields.clone(),
            field_defaults: field_defaults(config),
            tenants: TenantClients::of_config(config, client.as_ref(), &setting)?,
            client,
            client_auth: config.client_auth.unwrap_or(ClientAuth::Basic),
            client_key: client_key(config, &setting("client_key_file"))?,
            client_certificate: secret_of(
                &config.client_certificate_file,
                &setting("client_certificate_file"),
            )?,
            request: config.request.clone(),
            scope: config.scope.clone(),
            request_timeout,
            http: HttpSettings::of_config(&config.http.over(http), &setting("http"))?,
            limits: limits(config, &setting("limits"))?,
            assumed: assumed(config),
            dialect: dialect(config, &setting)?,
            policy: RefreshPolicy {
                schedule: schedule(config, &setting)?,
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

fn token_url(
    config: &ProviderConfig,
    setting: &impl Fn(&str) -> String,
) -> Result<TokenUrl, ConfigError> {
    let text = config.token_url.as_deref().ok_or_else(|| {
        ConfigError::missing(
            setting("token_url"),
            "the URL of the provider's token endpoint, https://…",
        )
    })?;
    let hosts = config.token_hosts.as_deref().unwrap_or_default();
    TokenUrl::read("token_url", text, hosts, config.allow_http == Some(true))
        .map_err(|(name, reason)| ConfigError::invalid(setting(name), reason))
}

fn revocation_url(
    config: &ProviderConfig,
    setting: &impl Fn(&str) -> String,
) -> Result<Option<TokenUrl>, ConfigError> {
    let Some(text) = config.revocation_url.as_deref() else { return Ok(None) };
    // An address without fields leads where it says; token_hosts is about documents.
    let hosts = config.token_hosts.as_deref().filter(|_| text.contains('{')).unwrap_or_default();
    TokenUrl::read("revocation_url", text, hosts, config.allow_http == Some(true))
        .map(Some)
        .map_err(|(name, reason)| ConfigError::invalid(setting(name), reason))
}

fn field_defaults(config: &ProviderConfig) -> DocumentFields {
    let defaults = config.field_defaults.iter();
    defaults.map(|(name, ScalarText(value))| (name.clone(), value.clone())).collect()
}

/// The section's own client. There need not be one where each document names its client.
fn client(
    config: &ProviderConfig,
    setting: &impl Fn(&str) -> String,
) -> Result<Option<RegisteredClient>, ConfigError> {
    let of_file = secret_of(&config.client_secret_file, &setting("client_secret_file"))?;
    let secret = of_file.or_else(|| config.client_secret.clone());
    match config.client_id.clone().filter(|id| !id.is_empty()) {
        Some(id) => Ok(Some(RegisteredClient { id, secret })),
        None if !config.clients.is_empty() => Ok(None),
        None => Err(ConfigError::missing(
            setting("client_id"),
            "the provider gave it to your application",
        )),
    }
}

fn secret_of(file: &Option<PathBuf>, setting: &str) -> Result<Option<SecretString>, ConfigError> {
    file.as_ref().map(|file| secret::of_file(file, setting)).transpose()
}

fn client_key(config: &ProviderConfig, setting: &str) -> Result<Option<AssertionKey>, ConfigError> {
    let Some(pem) = secret_of(&config.client_key_file, setting)? else { return Ok(None) };
    AssertionKey::read(pem.expose_secret(), config.client_key_id.as_deref())
        .map(Some)
        .map_err(|reason| ConfigError::invalid(setting, reason))
}

fn limits(config: &ProviderConfig, setting: &str) -> Result<Vec<RateLimit>, ConfigError> {
    let assumed = || ASSUMED_LIMIT.parse().into_iter().collect();
    let limits: Vec<RateLimit> = config.limits.clone().unwrap_or_else(assumed);
    match contradiction(&limits) {
        None => Ok(limits),
        Some(contradiction) => Err(ConfigError::invalid(setting, contradiction.to_string())),
    }
}

/// The section's own rules come first: the first that fits counts.
fn dialect(
    config: &ProviderConfig,
    setting: &impl Fn(&str) -> String,
) -> Result<Dialect, ConfigError> {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let lower = |texts: &Option<Vec<String>>| -> Vec<String> {
        texts.iter().flatten().map(|text| text.to_lowercase()).collect()
    };
    let mut rules = config.meaning.clone();
    if let Some(path) = &config.preset_file {
        rules.extend(file_of(&path.display().to_string(), &setting("preset_file"))?.rules);
    }
    rules.extend(preset(&config.preset).map_err(|error| error.at(&setting("preset")))?.rules);
    Ok(Dialect {
        dead_codes: list(&config.dead_codes),
        dead_texts: lower(&config.dead_texts),
        not_dead_texts: lower(&config.not_dead_texts),
        throttle_codes: list(&config.throttle_codes),
        throttle_scope: config.throttle_scope.unwrap_or_default(),
        answer: config.answer.clone(),
        also_write: config.also_write.clone(),
        rules,
    })
}

fn assumed(config: &ProviderConfig) -> Vec<&'static str> {
    let access = config.access_lifetime.is_none().then_some("access_lifetime");
    let idle = config.refresh_idle_lifetime.is_none().then_some("refresh_idle_lifetime");
    access.into_iter().chain(idle).collect()
}

fn schedule(
    config: &ProviderConfig,
    setting: &impl Fn(&str) -> String,
) -> Result<RefreshSchedule, ConfigError> {
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
    Ok(RefreshSchedule {
        keep: config.keep.unwrap_or(RefreshGoal::KeepAlive),
        access_lifetime: config.access_lifetime.unwrap_or(ASSUMED_ACCESS_TTL),
        access_is_assumed: config.access_lifetime.is_none(),
        refresh_idle_lifetime: config
            .refresh_idle_lifetime
            .map_or(Some(ASSUMED_IDLE_TTL), TokenLifetime::limit),
        refresh_absolute_lifetime: config.refresh_absolute_lifetime.and_then(TokenLifetime::limit),
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
