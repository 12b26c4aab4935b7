//! The queue's section.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::store::{check_url, file_of};
use evergrant_domain::ProviderId;
use evergrant_domain::ladder::Ladder;
use evergrant_rabbitmq::RabbitSettings;
use evergrant_settings::{ConfigError, duration};
use evergrant_sqlite::SqliteQueueSettings;

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
