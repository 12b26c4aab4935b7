//! A certificate and its key, as two settings name their files.

use std::path::{Path, PathBuf};

use crate::ConfigError;

/// The two files, if TLS is wanted.
pub fn tls_pair<'a>(
    certificate: &'a Option<PathBuf>,
    key: &'a Option<PathBuf>,
) -> Option<(&'a Path, &'a Path)> {
    certificate.as_deref().zip(key.as_deref())
}

/// That `tls_certificate` and `tls_key` of a section are both given, or neither.
///
/// # Errors
/// If one is missing.
pub fn check_tls_pair(
    section: &str,
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
) -> Result<(), ConfigError> {
    let missing = match (certificate, key) {
        (Some(_), None) => "tls_key",
        (None, Some(_)) => "tls_certificate",
        (Some(_), Some(_)) | (None, None) => return Ok(()),
    };
    let reason = "a certificate and its key belong together: give both or neither";
    Err(ConfigError::missing(format!("{section}.{missing}"), reason))
}
