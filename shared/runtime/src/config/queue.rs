//! The queue's section.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(feature = "rabbitmq")]
use secrecy::SecretString;
use serde::Deserialize;

use evergrant_domain::ProviderId;
use evergrant_domain::ladder::Ladder;
#[cfg(feature = "rabbitmq")]
use evergrant_rabbitmq::RabbitSettings;
use evergrant_settings::{ConfigError, duration, secret};
use evergrant_sqlite::SqliteQueueSettings;

use super::QueueUrl;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    pub url: QueueUrl,
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

impl QueueSettings {
    /// Takes the URL that `url_file` holds, if it is set.
    pub(super) fn read_url_file(&mut self) -> Result<(), ConfigError> {
        if let Some(file) = &self.url_file {
            const SETTING: &str = "queue.url_file";
            let parsed = QueueUrl::parse(&secret::of_file(file, SETTING)?);
            self.url = parsed.map_err(|reason| ConfigError::invalid(SETTING, reason))?;
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
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

    /// What the adapter of SQLite needs to know.
    pub(crate) fn sqlite(
        &self,
        file: &Path,
        providers: Vec<ProviderId>,
    ) -> Result<SqliteQueueSettings, ConfigError> {
        Ok(SqliteQueueSettings {
            path: file.to_owned(),
            prefix: self.prefix.clone(),
            providers,
            shards: self.shards,
            ladder: self.ladder()?,
        })
    }

    /// What the adapter of RabbitMQ needs to know.
    #[cfg(feature = "rabbitmq")]
    pub(crate) fn rabbitmq(
        &self,
        url: &SecretString,
        providers: Vec<ProviderId>,
        connection_name: String,
    ) -> Result<RabbitSettings, ConfigError> {
        Ok(RabbitSettings {
            url: url.clone(),
            prefix: self.prefix.clone(),
            providers,
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
