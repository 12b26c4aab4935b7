//! Secrets from files.

use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::ConfigError;

/// What a file holds, without the line break at its end.
pub fn of_file(path: &Path, setting: &str) -> Result<SecretString, ConfigError> {
    let fail = |reason: &str| ConfigError::SecretFile {
        setting: setting.to_owned(),
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let read = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = read.map_err(|error| fail(&error.kind().to_string()))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(fail("it is empty")),
        secret => Ok(SecretString::from(secret)),
    }
}
