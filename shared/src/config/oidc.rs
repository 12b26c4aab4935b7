//! Logins to the web console by an OpenID provider.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{ConfigError, is_token_url_safe, secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// As it is written: with or without a slash at its end, it is the name of the provider as well.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<SecretString>,
    pub client_secret_file: Option<PathBuf>,
    #[serde(default = "label")]
    pub label: String,
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    #[serde(default = "name_claim")]
    pub name_claim: String,
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    #[serde(default)]
    pub operators: Vec<String>,
    #[serde(default)]
    pub viewers: Vec<String>,
}

impl OidcConfig {
    /// The client's secret. It is read when it is needed: who serves no console need not have it.
    ///
    /// # Errors
    /// [`ConfigError`] if its file cannot be read.
    pub fn secret(&self) -> Result<Option<SecretString>, ConfigError> {
        let setting = "console.oidc.client_secret_file";
        let of_file = self.client_secret_file.as_deref();
        let of_file = of_file.map(|path| secret::of_file(path, setting)).transpose()?;
        Ok(of_file.or_else(|| self.client_secret.clone()))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |setting: &str, reason: &str| {
            Err(ConfigError::invalid(format!("console.oidc.{setting}"), reason))
        };
        let issuer = Url::parse(&self.issuer).ok();
        let is_safe =
            |url: &Url| matches!(url.scheme(), "http" | "https") && is_token_url_safe(url);
        if !issuer.as_ref().is_some_and(is_safe) {
            return wrong(
                "issuer",
                "it must be an https:// address; http:// is for this machine only",
            );
        }
        if self.client_id.is_empty() {
            return wrong("client_id", "it is empty");
        }
        if self.operators.is_empty() && self.viewers.is_empty() {
            return wrong(
                "operators",
                "name the groups of those who may act here, or in console.oidc.viewers those of whom \
                 may look: nobody else gets in",
            );
        }
        Ok(())
    }
}

fn label() -> String {
    "OpenID Connect".to_owned()
}

fn scopes() -> Vec<String> {
    vec!["profile".to_owned(), "email".to_owned()]
}

fn name_claim() -> String {
    "preferred_username".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}
