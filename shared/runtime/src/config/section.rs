//! Sections that belong to one program: its crate owns them, and reads them from here.

use figment::Figment;
use serde::de::DeserializeOwned;

use super::{Config, ConfigError};
use evergrant_settings::config_error;

/// The settings of one program, a section of all settings.
pub trait SettingsSection: DeserializeOwned {
    /// The section.
    const NAME: &'static str;

    /// That each setting can be used, beside those that all programs share.
    ///
    /// # Errors
    /// [`ConfigError`] names the first one that cannot, and says what would be right.
    fn validate(&self, config: &Config) -> Result<(), ConfigError>;
}

impl Config {
    /// The section of a program.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that is wrong and says what would be right.
    pub fn section<S: SettingsSection>(&self) -> Result<S, ConfigError> {
        let section: Result<S, figment::Error> = self.merged.0.extract_inner(S::NAME);
        let section = section.map_err(|mut error| {
            // figment puts the name of the section behind that of the setting.
            if !error.path.is_empty() {
                error.path.rotate_right(1);
            }
            config_error(error)
        })?;
        section.validate(self)?;
        Ok(section)
    }
}

/// Everything that was read, laid over the defaults. Some of it is secret.
#[derive(Clone, Default)]
pub(super) struct MergedSettings(pub(super) Figment);

impl std::fmt::Debug for MergedSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MergedSettings")
    }
}
