//! A serializable secret, for sealing.

use std::fmt;

use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// A secret that can be serialized, which [`SecretString`] refuses. Its memory is wiped when it is
/// freed.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct PlainSecret(String);

impl PlainSecret {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&SecretString> for PlainSecret {
    fn from(secret: &SecretString) -> Self {
        Self(secret.expose_secret().to_owned())
    }
}

impl From<PlainSecret> for SecretString {
    fn from(mut plain: PlainSecret) -> Self {
        Self::from(std::mem::take(&mut plain.0))
    }
}

impl Drop for PlainSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PlainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
