//! The settings in force, for people: every setting with its value, and no secret.

use std::ffi::OsString;
use std::path::Path;

use evergrant_settings::{ConfigError, config_error};
use toml::{Table, Value};

use super::{SECRETS, file_to_read, has_password, layers};

/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";
const PROXY: &str = "proxy";
/// What is sent with each request of a provider: some put a key there.
const SENT: [&str; 2] = ["headers", "parameters"];

/// The settings of this process, as [`super::Config::load`] reads them: presets, file and environment laid over
/// the defaults. Secrets, and URLs with a password, are left out.
///
/// # Errors
/// If the file or the environment cannot be read.
pub fn settings_in_force(file: Option<&Path>) -> Result<Table, ConfigError> {
    in_force(file_to_read(file), std::env::vars_os())
}

/// A provider's section of the settings of this process, with its preset beneath it. It may hold secrets and is not
/// to be shown.
///
/// # Errors
/// As [`settings_in_force`], and if there is no such section.
pub fn provider_in_force(file: Option<&Path>, name: &str) -> Result<Table, ConfigError> {
    let settings = layers(file_to_read(file), std::env::vars_os(), &[])?;
    let mut settings: Table = settings.extract().map_err(config_error)?;
    let section = settings.get_mut("providers").and_then(|all| all.get_mut(name));
    match section.and_then(Value::as_table_mut) {
        Some(section) => Ok(std::mem::take(section)),
        None => Err(ConfigError::missing(format!("providers.{name}"), "there is no such section")),
    }
}

fn in_force(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Table, ConfigError> {
    let mut settings = layers(file, variables, &[])?.extract().map_err(config_error)?;
    hide_secrets(&mut settings);
    Ok(settings)
}

fn hide_secrets(section: &mut Table) {
    for (name, value) in section {
        let is_secret = SECRETS.contains(&name.as_str());
        match value {
            Value::Table(sent) if SENT.contains(&name.as_str()) => {
                sent.iter_mut().for_each(|(_, value)| *value = Value::from(HIDDEN));
            }
            Value::Table(section) => hide_secrets(section),
            Value::String(text) if is_secret && text.is_empty() => {}
            // A user's name may be a key.
            Value::String(url) if name == PROXY && url.contains('@') => {
                *value = Value::from(HIDDEN)
            }
            Value::String(url) if !is_secret && !has_password(url) => {}
            value if is_secret || value.is_str() => *value = Value::from(HIDDEN),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_shown_and_no_secret() {
        let variables = [
            ("EVERGRANT_STORE__URL", "mongodb://me:S3cret@db"),
            ("EVERGRANT_RESCUE__KEY", "S3cret"),
            ("EVERGRANT_HTTP__PROXY", "http://S3cret@proxy:3128"),
            ("EVERGRANT_PROVIDERS__P__HTTP__PROXY", "http://me:S3cret@proxy:3128"),
            ("EVERGRANT_PROVIDERS__P__PRESET", "autodesk"),
            ("EVERGRANT_PROVIDERS__P__CLIENT_ID", "id"),
            ("EVERGRANT_PROVIDERS__P__CLIENT_SECRET", "S3cret"),
            ("EVERGRANT_PROVIDERS__P__REQUEST__HEADERS__X_API_KEY", "S3cret"),
            ("EVERGRANT_PROVIDERS__P__REQUEST__PARAMETERS__API_KEY", "S3cret"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let shown = toml::to_string(&in_force(None, variables).unwrap()).unwrap();
        assert!(!shown.contains("S3cret"), "{shown}");
        for setting in ["client_id = \"id\"", "database = ", "token_url = \"https://", HIDDEN] {
            assert!(shown.contains(setting), "{setting} of {shown}");
        }
    }
}
