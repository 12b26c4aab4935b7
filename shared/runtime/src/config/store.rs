//! The store's section.
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
use evergrant_mongodb::MongoSettings;
use evergrant_settings::{ConfigError, duration};
use evergrant_sqlite::{SqliteStoreSettings, is_sqlite_url, path_of_url};

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
pub(super) fn check_url(
    setting: &str,
    url: &SecretString,
    schemes: &[&str],
) -> Result<(), ConfigError> {
    let url = url.expose_secret();
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        let reason = format!("it must begin with {}", schemes.join(" or "));
        return Err(ConfigError::invalid(setting, reason));
    }
    if is_sqlite_url(url) { file_of(setting, url).map(drop) } else { Ok(()) }
}

pub(super) fn file_of(setting: &str, url: &str) -> Result<PathBuf, ConfigError> {
    path_of_url(url).map_err(|reason| ConfigError::invalid(setting, reason))
}
