//! A wrong setting.

use std::path::PathBuf;

/// A setting that is wrong. It never holds a setting's value, which may be secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file is not there.
    #[error("the configuration file {} does not exist or is not a file", path.display())]
    NoFile {
        /// Its path.
        path: PathBuf,
    },
    /// A setting is wrong.
    #[error("the setting {setting} is wrong: {reason}")]
    Invalid {
        /// The setting, such as `store.url`.
        setting: String,
        /// Why, and what would be right.
        reason: String,
    },
    /// A setting is missing.
    #[error("the setting {setting} is missing: {reason}")]
    Missing {
        /// The setting, such as `providers.autodesk.client_id`.
        setting: String,
        /// How to give it.
        reason: String,
    },
    /// There is nothing to do without one.
    #[error(
        "no provider is configured: give the file of the settings by --config or EVERGRANT_CONFIG \
         (`evergrant init` writes evergrant.toml) with a section [providers.NAME], or set \
         EVERGRANT_PROVIDERS__NAME__… in the environment"
    )]
    NoProvider,
    /// There is no such setting.
    #[error("there is no setting {setting}; here there are: {known}")]
    Unknown {
        /// The setting.
        setting: String,
        /// The settings of that section.
        known: String,
    },
    /// A file that holds a secret cannot be read.
    #[error("the setting {setting}: cannot read {}: {reason}", path.display())]
    SecretFile {
        /// The setting that names the file.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl ConfigError {
    /// A setting that is wrong, and why.
    pub fn invalid(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { setting: setting.into(), reason: reason.into() }
    }

    /// The setting that it is about.
    pub fn setting(&self) -> Option<&str> {
        match self {
            Self::Invalid { setting, .. }
            | Self::Missing { setting, .. }
            | Self::Unknown { setting, .. }
            | Self::SecretFile { setting, .. } => Some(setting),
            Self::NoFile { .. } | Self::NoProvider => None,
        }
    }

    /// The same of another setting.
    pub fn at(self, setting: &str) -> Self {
        match self {
            Self::Invalid { reason, .. } => Self::invalid(setting, reason),
            other => other,
        }
    }

    /// The same, with the file in which it is.
    pub fn within(self, file: &str) -> Self {
        let within = |setting: String| format!("{setting} of {file}");
        match self {
            Self::Invalid { setting, reason } => Self::Invalid { setting: within(setting), reason },
            Self::Missing { setting, reason } => Self::Missing { setting: within(setting), reason },
            Self::Unknown { setting, known } => Self::Unknown { setting: within(setting), known },
            other => other,
        }
    }

    /// A setting that is missing, and how to give it.
    pub fn missing(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Missing { setting: setting.into(), reason: reason.into() }
    }
}
