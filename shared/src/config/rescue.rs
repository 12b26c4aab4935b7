//! Settings of the nets under an answer that is not committed yet.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::{ConfigError, duration, secret_of_file};
use crate::rescue::{Keys, Sealer};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RescueConfig {
    pub key: Option<SecretString>,
    pub key_file: Option<PathBuf>,
    #[serde(default)]
    pub old_keys: Vec<SecretString>,
    pub journal: Option<PathBuf>,
    #[serde(deserialize_with = "duration::required")]
    pub after: Duration,
}

impl RescueConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.after) {
            return Err(ConfigError::invalid("rescue.after", "it must be from 100ms to 60s"));
        }
        self.sealer().map(drop)
    }

    /// What seals answers; None without a key.
    ///
    /// # Errors
    /// If a key is none, or its file cannot be read.
    pub fn sealer(&self) -> Result<Option<Sealer>, ConfigError> {
        let key = match (&self.key, &self.key_file) {
            (_, Some(file)) => secret_of_file(file, "rescue.key_file")?,
            (Some(key), None) => key.clone(),
            (None, None) => return Ok(None),
        };
        let keys = Keys::new(&key, &self.old_keys)
            .map_err(|error| ConfigError::invalid("rescue.key or old_keys", error.to_string()))?;
        Ok(Some(Sealer::new(keys)))
    }
}
