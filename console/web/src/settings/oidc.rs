//! Logins to the web console by an OpenID provider.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use evergrant_provider::token_url::is_token_url_safe;
use evergrant_settings::{ConfigError, secret};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
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

impl OidcSettings {
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

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |setting: &str, reason: &str| {
            Err(ConfigError::invalid(format!("console.oidc.{setting}"), reason))
        };
        let issuer = Url::parse(&self.issuer).ok();
        let is_safe = |url: &Url| {
            matches!(url.scheme(), "http" | "https") && is_token_url_safe(url) && is_bare(url)
        };
        if !issuer.as_ref().is_some_and(is_safe) {
            return wrong(
                "issuer",
                "it must be an https:// address; http:// is for this machine only",
            );
        }
        if self.client_id.is_empty() {
            return wrong("client_id", "it is empty");
        }
        let is_empty = |secret: &SecretString| secret.expose_secret().is_empty();
        if self.client_secret.as_ref().is_some_and(is_empty) {
            return wrong("client_secret", "it is empty; leave it out for a public client");
        }
        if self.client_secret.is_some() && self.client_secret_file.is_some() {
            return wrong("client_secret", "give it or client_secret_file, not both");
        }
        let groups = || self.operators.iter().chain(&self.viewers);
        if groups().any(|group| group.is_empty() || group.trim() != group) {
            return wrong(
                "operators",
                "a group here or in console.oidc.viewers is empty, or has spaces around it",
            );
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

/// Whether an address holds neither a user, a password, a query nor a fragment.
pub(super) fn is_bare(url: &Url) -> bool {
    let is_of_nobody = url.username().is_empty() && url.password().is_none();
    is_of_nobody && url.query().is_none() && url.fragment().is_none()
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

#[cfg(test)]
mod tests {
    use evergrant_runtime::config::Config;

    use super::*;
    use crate::settings::ConsoleSettings;

    fn load(more: &[(&str, &str)]) -> Result<ConsoleSettings, ConfigError> {
        let right = [
            ("PUBLIC_URL", "https://evergrant.example.com"),
            ("OIDC__ISSUER", "https://login.example.com/realms/staff"),
            ("OIDC__CLIENT_ID", "12345"),
            ("OIDC__OPERATORS", r#"["platform"]"#),
        ];
        let variables = right
            .iter()
            .chain(more)
            .map(|(name, value)| (format!("EVERGRANT_CONSOLE__{name}").into(), (*value).into()));
        Config::from_parts(None, variables.collect::<Vec<_>>(), &[]).unwrap().section()
    }

    #[test]
    fn an_issuer_stays_as_it_is_written() {
        let oidc = load(&[]).unwrap().oidc.unwrap();
        assert_eq!(oidc.issuer, "https://login.example.com/realms/staff");
        assert_eq!((oidc.client_id.as_str(), oidc.secret().unwrap().is_none()), ("12345", true));
    }

    #[test]
    fn what_would_let_in_nobody_or_the_wrong_ones_is_refused() {
        for (setting, value, named) in [
            ("OIDC__ISSUER", "http://login.example.com", "issuer"),
            ("OIDC__ISSUER", "https://me:secret@login.example.com", "issuer"),
            ("OIDC__ISSUER", "https://login.example.com?tenant=1", "issuer"),
            ("OIDC__ISSUER", "login.example.com", "issuer"),
            ("OIDC__OPERATORS", "[]", "operators"),
            ("OIDC__OPERATORS", r#"[""]"#, "operators"),
            ("OIDC__VIEWERS", r#"["support "]"#, "operators"),
            ("PUBLIC_URL", "https://example.com/evergrant", "public_url"),
            ("PUBLIC_URL", "https://me:secret@example.com", "public_url"),
        ] {
            let error = load(&[(setting, value)]).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("secret@"), "{value}: {error}");
        }
        let both = [("OIDC__CLIENT_SECRET", "s"), ("OIDC__CLIENT_SECRET_FILE", "/s")];
        assert!(load(&both).unwrap_err().to_string().contains("not both"));
    }
}
