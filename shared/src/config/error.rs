//! A wrong setting.

use std::path::PathBuf;

use figment::error::Kind;

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
    pub(crate) fn invalid(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { setting: setting.into(), reason: reason.into() }
    }

    pub(crate) fn missing(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Missing { setting: setting.into(), reason: reason.into() }
    }
}

/// Says what figment found, without the value that it quotes.
pub(super) fn of_figment(error: figment::Error) -> ConfigError {
    let source = error.metadata.as_ref().map(|metadata| match &metadata.source {
        Some(source) => format!(" (in {source})"),
        None => format!(" (in {})", metadata.name),
    });
    let source = source.unwrap_or_default();
    let path = error.path.join(".");
    let path = if path.is_empty() { "(top level)".to_owned() } else { path };
    match error.kind {
        Kind::UnknownField(field, known) => {
            ConfigError::Unknown { setting: beside(&error.path, &field), known: known.join(", ") }
        }
        Kind::MissingField(field) => {
            let reason = "give it in the configuration file or the environment";
            ConfigError::missing(beside(&error.path, &field), reason)
        }
        Kind::InvalidType(_, expected) => {
            ConfigError::invalid(path, format!("expected {expected}{source}"))
        }
        Kind::InvalidValue(_, expected) => {
            ConfigError::invalid(path, format!("expected {expected}{source}"))
        }
        Kind::UnknownVariant(_, known) => {
            ConfigError::invalid(path, format!("expected one of {}{source}", known.join(", ")))
        }
        Kind::Message(message) => {
            ConfigError::invalid(path, format!("{}{source}", first_line(&message)))
        }
        _ => ConfigError::invalid(path, format!("it has a wrong form{source}")),
    }
}

/// TOML's syntax errors quote the line that is wrong, which may hold a secret; their first line
/// says where it is and no more.
fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// figment's path of an unknown or missing field ends in the field itself, or does not.
fn beside(path: &[String], field: &str) -> String {
    let section: Vec<&str> =
        path.iter().map(String::as_str).filter(|part| *part != field).collect();
    section.into_iter().chain([field]).collect::<Vec<_>>().join(".")
}
