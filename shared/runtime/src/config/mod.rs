//! Settings: the commented default, a file, the environment and flags, in that order.
//!
//! [`Config::load`] reads and checks them; a wrong setting is an error that names it and says what
//! would be right. [`DEFAULT`] is the commented default, embedded.

mod also_write;
mod environment;
mod in_force;
mod queue;
mod section;
mod server_url;
mod store;
mod urls;
mod weakness;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use secrecy::SecretString;
use serde::de::IgnoredAny;

use evergrant_document::adoption::AdoptionRules;
use evergrant_domain::ProviderId;
use evergrant_provider::{HttpConfig, HttpSettings, Provider, ProviderConfig, with_presets};
use evergrant_rescue::RescueSettings;
use evergrant_settings::config_error;
use evergrant_telemetry::TelemetrySettings;

use also_write::ExpiryUpkeep;
pub use evergrant_settings::ConfigError;
pub use in_force::{provider_in_force, settings_in_force};
pub use queue::QueueSettings;
use section::MergedSettings;
pub use section::SettingsSection;
pub use server_url::has_password;
pub use store::StoreSettings;
pub use urls::{QueueUrl, StoreUrl};
pub use weakness::ConfigWeakness;

/// The commented default settings.
pub const DEFAULT: &str = include_str!("default.toml");

/// Settings that hold secrets, in whichever section.
const SECRETS: [&str; 3] = ["client_secret", "key", "old_keys"];

/// The file that is read where none is named: of the folder in which a process is started.
pub const FILE_NAME: &str = "evergrant.toml";

/// The settings that all programs share, and the sections of each of them ([`Config::section`]).
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where documents live.
    pub store: StoreSettings,
    /// How jobs travel.
    pub queue: QueueSettings,
    /// The safeguards under an answer that is not committed yet.
    pub rescue: RescueSettings,
    /// Logs, metrics and health.
    pub telemetry: TelemetrySettings,
    /// How providers are reached.
    pub http: HttpConfig,
    /// The providers, by name.
    #[serde(default)]
    pub providers: BTreeMap<ProviderId, ProviderConfig>,
    /// The file that was read.
    #[serde(skip)]
    file: Option<PathBuf>,
    /// What was read, for the sections of programs.
    #[serde(skip)]
    merged: MergedSettings,
    /// Whose sections these are reads them.
    #[serde(rename = "producer")]
    _producer: IgnoredAny,
    #[serde(rename = "worker")]
    _worker: IgnoredAny,
    #[serde(rename = "console")]
    _console: IgnoredAny,
    #[serde(rename = "gateway")]
    _gateway: IgnoredAny,
}

/// A flag that overrides a setting: its path, such as `store.database`, and its value. Secrets are
/// not among them.
pub type SettingOverride = (&'static str, Option<String>);

impl Config {
    /// Reads the settings of this process: `file`, or [`FILE_NAME`] of this folder where none is given, its
    /// environment, and `overrides`.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that is wrong and says what would be right.
    pub fn load(file: Option<&Path>, overrides: &[SettingOverride]) -> Result<Self, ConfigError> {
        Self::from_parts(file_to_read(file), std::env::vars_os(), overrides)
    }

    /// As [`Self::load`], with the environment given.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_parts(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: &[SettingOverride],
    ) -> Result<Self, ConfigError> {
        let settings = layers(file, variables, overrides)?;
        let mut config: Self = settings.extract().map_err(config_error)?;
        config.file = file.map(Path::to_owned);
        config.merged = MergedSettings(settings);
        let file_of_url = config.store.url_file.clone();
        config.store.set_url(None, file_of_url.as_deref())?;
        config.queue.read_url_file()?;
        config.check()?;
        let providers = config.providers()?;
        let needed = providers.iter().flat_map(Provider::document_paths).collect();
        let client = providers.iter().filter_map(|provider| provider.tenants.field());
        config.store.fields.client = client.map(str::to_owned).collect();
        config.store.fields.keeps_expiry = config.store.expiry == ExpiryUpkeep::Auto;
        config.store.fields.needed = BTreeSet::into_iter(needed).collect();
        Ok(config)
    }

    /// The providers, each made of its preset and what the settings override. Who exchanges nothing needs no
    /// client secret, so one may be missing.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or wrong.
    pub fn providers(&self) -> Result<Vec<Provider>, ConfigError> {
        let ladder = self.queue.ladder()?;
        self.providers
            .iter()
            .map(|(id, config)| {
                let ladder = ladder.clone();
                let mut provider = Provider::of_config(id.clone(), config, &self.http, ladder)?;
                let own = std::mem::take(&mut provider.dialect.also_write);
                let mut also = self.store.also_write.clone();
                also.extend(own);
                let setting = format!("providers.{id}.also_write");
                self.store.check_also_written(&setting, &also, provider.tenants.field())?;
                provider.dialect.also_write = also;
                Ok(provider)
            })
            .collect()
    }

    /// As [`Self::providers`], for those who need one.
    ///
    /// # Errors
    /// As there, and if there is none.
    pub fn some_providers(&self) -> Result<Vec<Provider>, ConfigError> {
        self.require_provider()?;
        self.providers()
    }

    /// As [`Self::some_providers`], for those who exchange tokens: with the client's secrets.
    ///
    /// # Errors
    /// As there, and if a secret is missing.
    pub fn exchanging_providers(&self) -> Result<Vec<Provider>, ConfigError> {
        let providers = self.some_providers()?;
        providers.iter().try_for_each(Provider::require_secret)?;
        Ok(providers)
    }

    /// That there is something to serve.
    ///
    /// # Errors
    /// If there is no provider.
    pub fn require_provider(&self) -> Result<(), ConfigError> {
        if self.providers.is_empty() { Err(ConfigError::NoProvider) } else { Ok(()) }
    }

    /// The same settings with another store: its URL, or the file that holds it.
    ///
    /// # Errors
    /// If the URL is of no store, or the file cannot be read.
    pub fn with_store_url(
        &self,
        url: Option<&SecretString>,
        url_file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let mut config = self.clone();
        config.store.set_url(url, url_file)?;
        config.store.check()?;
        Ok(config)
    }

    /// The provider of documents that don't name one: as set, or the only one there is.
    pub fn default_provider(&self) -> Option<ProviderId> {
        let only = || match self.providers.len() {
            1 => self.providers.keys().next().cloned(),
            _ => None,
        };
        self.store.default_provider.clone().or_else(only)
    }

    /// Which documents are taken up, and by which provider.
    ///
    /// # Errors
    /// If `store.filter` or `store.provider_names` is wrong.
    pub fn adoption(&self) -> Result<AdoptionRules, ConfigError> {
        self.store.adoption(self.providers.keys().cloned().collect(), self.default_provider())
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.store.check()?;
        self.store.check_also_written("store.also_write", &self.store.also_write, None)?;
        self.adoption()?;
        self.queue.check()?;
        self.rescue.validate()?;
        HttpSettings::of_config(&self.http, "http")?;
        if let Some(name) = &self.store.default_provider
            && !self.providers.contains_key(name)
        {
            return Err(ConfigError::invalid(
                "store.default_provider",
                format!("there is no section providers.{name}"),
            ));
        }
        Ok(())
    }
}

/// The file that is read.
fn file_to_read(named: Option<&Path>) -> Option<&Path> {
    let of_this_folder = Path::new(FILE_NAME);
    named.or_else(|| of_this_folder.is_file().then_some(of_this_folder))
}

/// The defaults, beneath a file, beneath the environment, beneath overrides; and presets beneath providers.
fn layers(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    overrides: &[SettingOverride],
) -> Result<Figment, ConfigError> {
    let mut settings = Figment::from(Toml::string(DEFAULT));
    if let Some(file) = file {
        if !file.is_file() {
            return Err(ConfigError::NoFile { path: file.to_owned() });
        }
        settings = settings.merge(Toml::file_exact(file));
    }
    settings = settings.merge(environment::Variables::from_environment(variables)?);
    for (path, value) in overrides {
        if let Some(value) = value {
            settings = settings.merge(Serialized::global(path, value));
        }
    }
    with_presets(settings)
}

#[cfg(test)]
mod tests;
