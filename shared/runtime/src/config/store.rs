//! The store's section.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use evergrant_document::FieldNames;
use evergrant_document::adoption::{AdoptionFilter, AdoptionRules, ProviderField};
use evergrant_document::paths::is_within;
use evergrant_domain::ProviderId;
use evergrant_domain::also_write::FieldSources;
#[cfg(feature = "mongodb")]
use evergrant_mongodb::MongoSettings;
use evergrant_settings::{ConfigError, duration, secret};
use evergrant_sqlite::SqliteStoreSettings;

use super::StoreUrl;
use super::also_write::ExpiryUpkeep;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    pub url: StoreUrl,
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
    pub fields: FieldNames,
}

impl StoreSettings {
    /// Takes another URL, or the one that a file holds. The file wins.
    pub(super) fn set_url(
        &mut self,
        url: Option<&SecretString>,
        file: Option<&Path>,
    ) -> Result<(), ConfigError> {
        let (setting, of_file) = match file {
            Some(file) => ("store.url_file", Some(secret::of_file(file, "store.url_file")?)),
            None => ("store.url", None),
        };
        if let Some(url) = of_file.as_ref().or(url) {
            let parsed = StoreUrl::parse(url);
            self.url = parsed.map_err(|reason| ConfigError::invalid(setting, reason))?;
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
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
        if self.url.file().is_some() {
            filter.check_portable()?;
        }
        Ok(filter)
    }

    /// What the adapter of SQLite needs to know. `adoption` are [`super::Config::adoption`].
    pub(crate) fn sqlite(&self, file: &Path, adoption: AdoptionRules) -> SqliteStoreSettings {
        SqliteStoreSettings {
            path: file.to_owned(),
            fields: self.fields.clone(),
            state_field: self.state_field.clone(),
            adoption,
        }
    }

    /// What the adapter of MongoDB needs to know. `adoption` are [`super::Config::adoption`].
    #[cfg(feature = "mongodb")]
    pub(crate) fn mongodb(&self, url: &SecretString, adoption: AdoptionRules) -> MongoSettings {
        MongoSettings {
            url: url.clone(),
            database: self.database.clone(),
            collection: self.collection.clone(),
            fields: self.fields.clone(),
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
