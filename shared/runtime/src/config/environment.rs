//! Settings from the environment: `EVERGRANT_<SECTION>__<SETTING>`.

use std::ffi::OsString;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::ConfigError;

const PREFIX: &str = "EVERGRANT_";

/// Settings that are text whatever they look like: a client secret may be all digits.
const TEXT: [&str; 33] = [
    "url",
    "url_file",
    "client_id",
    "client_secret",
    "client_secret_file",
    "client_field",
    "client_id_field",
    "token_url",
    "client_key_id",
    "user_agent",
    "assertion_audience",
    "assertion_issuer",
    "scope",
    "database",
    "collection",
    "prefix",
    "log_level",
    "user_id",
    "provider_field",
    "filter",
    "listen",
    "key",
    "key_file",
    "journal",
    "users_file",
    "public_url",
    "tls_certificate",
    "tls_key",
    "proxy_user_header",
    "issuer",
    "label",
    "name_claim",
    "groups_claim",
];

/// The variables that are settings.
pub(super) struct Variables(Dict);

impl Variables {
    /// Picks the settings out of an environment. A variable without `__` is not one of them, and an empty one
    /// is not given: compose files name variables that a user leaves empty.
    pub(super) fn from_environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Dict::new();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(path) = name.strip_prefix(PREFIX).filter(|path| path.contains("__")) else {
                continue;
            };
            let value = value.into_string().map_err(|_| {
                ConfigError::invalid(name, "the variable's value is not valid UTF-8")
            })?;
            if value.is_empty() {
                continue;
            }
            let path = path.to_lowercase();
            insert(&mut settings, &path.split("__").collect::<Vec<_>>(), value);
        }
        Ok(Self(settings))
    }
}

fn insert(settings: &mut Dict, path: &[&str], text: String) {
    match path {
        [] => {}
        [setting] => {
            let value = if TEXT.contains(setting) { Value::from(text) } else { parse(&text) };
            settings.insert((*setting).to_owned(), value);
        }
        [section, rest @ ..] => {
            let entry =
                settings.entry((*section).to_owned()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, section) = entry {
                insert(section, rest, text);
            }
        }
    }
}

/// Numbers, booleans and lists as TOML writes them; the rest is text.
fn parse(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::from(text))
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named("the environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}
