//! Settings of the nets under an answer that is not committed yet.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use evergrant_rescue::{AnswerSealer, SealingKeys, own_key};
use evergrant_settings::{ConfigError, duration, secret};

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

    /// These settings beside a file that holds the documents, tokens and all: where no key is given, it is
    /// one of its own in a folder next to the file, and so is the journal.
    ///
    /// # Errors
    /// If that key cannot be made or read.
    pub(super) fn beside(&self, file: &Path) -> Result<Self, ConfigError> {
        if self.key.is_some() || self.key_file.is_some() {
            return Ok(self.clone());
        }
        let mut folder = file.as_os_str().to_owned();
        folder.push("-rescue");
        let folder = PathBuf::from(folder);
        let key = own_key(&folder).map_err(|error| {
            let folder = folder.display();
            let reason = format!(
                "none is set, and there can be none in {folder}: {error}; let this user write there, or \
                 set rescue.key_file"
            );
            ConfigError::invalid("rescue.key", reason)
        })?;
        let journal = self.journal.clone().unwrap_or(folder);
        Ok(Self { key: Some(key), journal: Some(journal), ..self.clone() })
    }

    /// What seals answers; None without a key.
    ///
    /// # Errors
    /// If a key is none, or its file cannot be read.
    pub fn sealer(&self) -> Result<Option<AnswerSealer>, ConfigError> {
        let key = match (&self.key, &self.key_file) {
            (_, Some(file)) => secret::of_file(file, "rescue.key_file")?,
            (Some(key), None) => key.clone(),
            (None, None) => return Ok(None),
        };
        let keys = SealingKeys::new(&key, &self.old_keys)
            .map_err(|error| ConfigError::invalid("rescue.key or old_keys", error.to_string()))?;
        Ok(Some(AnswerSealer::new(keys)))
    }
}
