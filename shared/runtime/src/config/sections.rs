//! The sections of the settings. `default.toml` says what each setting means.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use evergrant_document::FieldNames;
use evergrant_document::adoption::{AdoptionFilter, AdoptionRules, ProviderField};
use evergrant_document::paths::is_within;
use evergrant_domain::ProviderId;
use evergrant_domain::also_write::FieldSources;
use evergrant_domain::ladder::Ladder;
use evergrant_mongodb::MongoSettings;
use evergrant_rabbitmq::RabbitSettings;
use evergrant_settings::{ConfigError, duration};
use evergrant_sqlite::{SqliteQueueSettings, SqliteStoreSettings, is_sqlite_url, path_of_url};

use super::also_write::ExpiryUpkeep;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    pub url: SecretString,
    pub url_file: Option<PathBuf>,
    pub database: String,
    pub collection: String,
    pub state_field: String,
    pub default_provider: Option<ProviderId>,
    pub provider_field: Option<String>,
    #[serde(default)]
    pub provider_names: BTreeMap<String, ProviderId>,
    pub filter: Option<String>,
    pub expiry: ExpiryUpkeep,
    #[serde(default)]
    pub also_write: FieldSources,
    #[serde(deserialize_with = "duration::required")]
    pub selection_timeout: Duration,
    pub fields: FieldsConfig,
    /// What the providers' addresses and requests need of a document.
    #[serde(skip)]
    pub(super) needed_fields: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldsConfig {
    pub user_id: String,
    pub access_token: String,
    pub refresh_token: String,
    pub email: String,
}

impl StoreConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_url("store.url", &self.url, &["mongodb://", "mongodb+srv://", "sqlite:"])?;
        for (setting, name) in [
            ("store.database", &self.database),
            ("store.collection", &self.collection),
            ("store.state_field", &self.state_field),
        ] {
            if name.is_empty() || name.starts_with('$') || name.contains(['\0', ' ']) {
                let reason = "it must be a name: not empty, without spaces, not beginning with $";
                return Err(ConfigError::invalid(setting, reason));
            }
        }
        for (setting, path) in [
            ("store.fields.user_id", &self.fields.user_id),
            ("store.fields.access_token", &self.fields.access_token),
            ("store.fields.refresh_token", &self.fields.refresh_token),
            ("store.fields.email", &self.fields.email),
            ("store.state_field", &self.state_field),
        ] {
            check_path(setting, path)?;
        }
        self.check_written()
    }

    /// None of what a refresh writes may lie within another part of it: one would replace the other.
    fn check_written(&self) -> Result<(), ConfigError> {
        let access_token = ("store.fields.access_token", &self.fields.access_token);
        let refresh_token = ("store.fields.refresh_token", &self.fields.refresh_token);
        let state = ("store.state_field", &self.state_field);
        let written = [access_token, refresh_token, state];
        for (setting, name) in written {
            for (other_setting, other) in written {
                if setting != other_setting && is_within(name, other) {
                    let reason =
                        format!("it must be a place of its own, not within {other_setting}");
                    return Err(ConfigError::invalid(setting, reason));
                }
            }
        }
        Ok(())
    }

    fn names(&self) -> FieldNames {
        FieldNames {
            user_id: self.fields.user_id.clone(),
            access_token: self.fields.access_token.clone(),
            refresh_token: self.fields.refresh_token.clone(),
            email: self.fields.email.clone(),
            keeps_expiry: self.expiry == ExpiryUpkeep::Auto,
            needed: self.needed_fields.clone(),
        }
    }

    /// Which documents are taken up by which of these providers.
    pub(super) fn adoption(
        &self,
        sections: BTreeSet<ProviderId>,
        default_provider: Option<ProviderId>,
    ) -> Result<AdoptionRules, ConfigError> {
        let missing = |name: &ProviderId| format!("there is no section providers.{name}");
        for (name, section) in &self.provider_names {
            let setting = format!("store.provider_names.{name}");
            if !sections.contains(section) {
                return Err(ConfigError::invalid(&setting, missing(section)));
            }
            if name != section.as_str() && sections.iter().any(|own| own.as_str() == name) {
                let reason = "a section's own name means that section";
                return Err(ConfigError::invalid(&setting, reason));
            }
        }
        let filter = self.filter.as_deref().filter(|filter| !filter.trim().is_empty());
        let filter = filter.map(|filter| self.read_filter(filter)).transpose();
        Ok(AdoptionRules {
            sections,
            default_provider,
            provider_field: match self.provider_field.as_deref() {
                None => ProviderField::Usual,
                Some("") => ProviderField::None,
                Some(field) => ProviderField::Named(field.to_owned()),
            },
            provider_names: self.provider_names.clone(),
            filter: filter.map_err(|reason| ConfigError::invalid("store.filter", reason))?,
        })
    }

    fn read_filter(&self, filter: &str) -> Result<AdoptionFilter, String> {
        let filter = AdoptionFilter::read(filter, &self.state_field)?;
        if is_sqlite_url(self.url.expose_secret()) {
            filter.check_portable()?;
        }
        Ok(filter)
    }

    /// The store's settings, for a file. `adoption` are [`super::Config::adoption`].
    ///
    /// # Errors
    /// If the URL names no file.
    pub fn sqlite(&self, adoption: AdoptionRules) -> Result<SqliteStoreSettings, ConfigError> {
        Ok(SqliteStoreSettings {
            path: file_of("store.url", self.url.expose_secret())?,
            fields: self.names(),
            state_field: self.state_field.clone(),
            adoption,
        })
    }

    /// The file that holds the documents, if no server does.
    ///
    /// # Errors
    /// If the URL names no file.
    pub fn file(&self) -> Result<Option<PathBuf>, ConfigError> {
        let url = self.url.expose_secret();
        is_sqlite_url(url).then(|| file_of("store.url", url)).transpose()
    }

    /// The store's settings, for MongoDB. `adoption` are [`super::Config::adoption`].
    pub fn mongo(&self, adoption: AdoptionRules) -> MongoSettings {
        MongoSettings {
            url: self.url.clone(),
            database: self.database.clone(),
            collection: self.collection.clone(),
            fields: self.names(),
            state_field: self.state_field.clone(),
            adoption,
            selection_timeout: self.selection_timeout,
        }
    }
}

/// A path in a document.
pub(super) fn check_path(setting: &str, path: &str) -> Result<(), ConfigError> {
    let is_name = |step: &str| !step.is_empty() && !step.starts_with('$');
    if path.contains('\0') || !path.split('.').all(is_name) {
        let reason = "it must be names with dots between them: none empty, none beginning with $";
        return Err(ConfigError::invalid(setting, reason));
    }
    Ok(())
}

/// A URL of one of the schemes; of a file, its path.
fn check_url(setting: &str, url: &SecretString, schemes: &[&str]) -> Result<(), ConfigError> {
    let url = url.expose_secret();
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        let reason = format!("it must begin with {}", schemes.join(" or "));
        return Err(ConfigError::invalid(setting, reason));
    }
    if is_sqlite_url(url) { file_of(setting, url).map(drop) } else { Ok(()) }
}

fn file_of(setting: &str, url: &str) -> Result<PathBuf, ConfigError> {
    path_of_url(url).map_err(|reason| ConfigError::invalid(setting, reason))
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    pub url: SecretString,
    pub url_file: Option<PathBuf>,
    pub prefix: String,
    pub shards: u16,
    #[serde(deserialize_with = "duration::list")]
    pub retry_ladder: Vec<Duration>,
    #[serde(deserialize_with = "duration::required")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "duration::required")]
    pub confirm_timeout: Duration,
}

impl QueueConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_url("queue.url", &self.url, &["amqp://", "amqps://", "sqlite:"])?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.chars().all(plain) {
            let reason = "it must be 1 to 64 letters, digits, dots, _ and -";
            return Err(ConfigError::invalid("queue.prefix", reason));
        }
        if !(1..=256).contains(&self.shards) {
            return Err(ConfigError::invalid("queue.shards", "it must be from 1 to 256"));
        }
        self.ladder().map(drop)
    }

    /// The queue's settings, for a file.
    ///
    /// # Errors
    /// If the URL names no file, and as [`Self::ladder`].
    pub fn sqlite(
        &self,
        providers: impl IntoIterator<Item = ProviderId>,
    ) -> Result<SqliteQueueSettings, ConfigError> {
        Ok(SqliteQueueSettings {
            path: file_of("queue.url", self.url.expose_secret())?,
            prefix: self.prefix.clone(),
            providers: providers.into_iter().collect(),
            shards: self.shards,
            ladder: self.ladder()?,
        })
    }

    /// The queue's settings, for RabbitMQ.
    ///
    /// # Errors
    /// As [`Self::ladder`].
    pub fn rabbit(
        &self,
        providers: impl IntoIterator<Item = ProviderId>,
        connection_name: String,
    ) -> Result<RabbitSettings, ConfigError> {
        Ok(RabbitSettings {
            url: self.url.clone(),
            prefix: self.prefix.clone(),
            providers: providers.into_iter().collect(),
            shards: self.shards,
            ladder: self.ladder()?,
            connection_name,
            connect_timeout: self.connect_timeout,
            confirm_timeout: self.confirm_timeout,
        })
    }

    /// The retry ladder.
    ///
    /// # Errors
    /// If the delays are not one.
    pub fn ladder(&self) -> Result<Ladder, ConfigError> {
        Ladder::new(self.retry_ladder.clone())
            .map_err(|error| ConfigError::invalid("queue.retry_ladder", error.to_string()))
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerConfig {
    #[serde(deserialize_with = "duration::required")]
    pub interval: Duration,
    pub max_queued: u64,
    pub window: usize,
    #[serde(deserialize_with = "duration::required")]
    pub queued_for: Duration,
    #[serde(deserialize_with = "duration::required")]
    pub leader_lease: Duration,
    #[serde(deserialize_with = "duration::required")]
    pub sweep_interval: Duration,
}

impl ProducerConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |setting: &str, reason: &str| Err(ConfigError::invalid(setting, reason));
        if self.interval < Duration::from_millis(100) {
            return wrong("producer.interval", "it must be at least 100ms");
        }
        if self.max_queued == 0 {
            return wrong("producer.max_queued", "it must be at least 1");
        }
        if !(1..=5_000).contains(&self.window) {
            return wrong("producer.window", "it must be from 1 to 5000");
        }
        if self.queued_for < Duration::from_secs(60) {
            return wrong("producer.queued_for", "it must be at least 60s");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&self.leader_lease) {
            return wrong("producer.leader_lease", "it must be from 1s to 1h");
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    pub exchanges_in_flight: u16,
    pub batch: u16,
    #[serde(deserialize_with = "duration::required")]
    pub permit_wait: Duration,
    #[serde(deserialize_with = "duration::required")]
    pub lease: Duration,
    pub shards: Option<Vec<u16>>,
    #[serde(deserialize_with = "duration::required")]
    pub shutdown_grace: Duration,
}

/// What a lease has left for the commit after the longest wait and the longest request.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

impl WorkerConfig {
    pub(super) fn check(&self, longest_request: Duration, shards: u16) -> Result<(), ConfigError> {
        if !(1..=1_000).contains(&self.exchanges_in_flight) {
            let reason = "it must be from 1 to 1000";
            return Err(ConfigError::invalid("worker.exchanges_in_flight", reason));
        }
        if !(1..=500).contains(&self.batch) {
            return Err(ConfigError::invalid("worker.batch", "it must be from 1 to 500"));
        }
        let needed = self.permit_wait + longest_request + COMMIT_TIMEOUT;
        if self.lease < needed {
            let needed = humantime::format_duration(needed);
            let reason = format!(
                "it must be at least {needed}: worker.permit_wait, the longest request_timeout \
                 of a provider and 5s for the commit"
            );
            return Err(ConfigError::invalid("worker.lease", reason));
        }
        match self.shards.as_deref() {
            Some([]) => Err(ConfigError::invalid("worker.shards", "it names no shard")),
            Some(subset) if subset.iter().any(|shard| *shard >= shards) => {
                let reason =
                    format!("queue.shards is {shards}, so the last shard is {}", shards - 1);
                Err(ConfigError::invalid("worker.shards", reason))
            }
            _ => Ok(()),
        }
    }
}
