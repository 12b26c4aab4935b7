//! The section of the safeguards in the settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use evergrant_settings::{ConfigError, duration, secret};

use crate::own_key::own_key;
use crate::{AnswerSealer, SealingKeys};

/// The safeguards under an answer that is not committed yet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RescueSettings {
    /// The key that seals answers, in base64.
    pub key: Option<SecretString>,
    /// A file that holds it.
    pub key_file: Option<PathBuf>,
    /// Earlier keys: they open what they have sealed.
    #[serde(default)]
    pub old_keys: Vec<SecretString>,
    /// The folder of this machine's journal; None for no journal.
    pub journal: Option<PathBuf>,
    /// How long a commit may fail before its answer goes to the rescue queue.
    #[serde(deserialize_with = "duration::required")]
    pub after: Duration,
}

impl RescueSettings {
    /// That each setting can be used.
    ///
    /// # Errors
    /// [`ConfigError`] names the one that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&self.after) {
            return Err(ConfigError::invalid("rescue.after", "it must be from 100ms to 60s"));
        }
        self.sealer().map(drop)
    }

    /// A step of starting workers on a file that holds the documents, tokens and all. Where no key is given,
    /// one is created in a folder next to the file unless it is there, and the journal is in that folder, too.
    ///
    /// # Errors
    /// If that key cannot be created or read.
    pub fn create_key_beside(&self, file: &Path) -> Result<Self, ConfigError> {
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

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn beside_a_file_of_documents_a_key_is_created_where_none_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("e.db");
        let after = Duration::from_secs(5);
        let unset =
            RescueSettings { key: None, key_file: None, old_keys: vec![], journal: None, after };
        let key =
            |settings: &RescueSettings| settings.key.as_ref().unwrap().expose_secret().to_owned();
        let own = unset.create_key_beside(&file).unwrap();
        assert!(own.sealer().unwrap().is_some() && unset.sealer().unwrap().is_none());
        assert_eq!(own.journal, Some(folder.path().join("e.db-rescue")));
        assert_eq!(key(&own), key(&unset.create_key_beside(&file).unwrap()), "it stays");

        let given = RescueSettings { key: Some(SealingKeys::generate()), ..unset };
        let kept = given.create_key_beside(&file).unwrap();
        assert_eq!((key(&kept), kept.journal), (key(&given), None));
    }
}
