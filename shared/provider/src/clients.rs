//! Which of our clients at a provider a document's tokens were issued to: the one of its section, or of several
//! tenants the one that the document names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use evergrant_domain::DocumentFields;
use evergrant_settings::{ConfigError, secret};

use crate::{Provider, ProviderConfig};

/// A client of a provider's section, beside the section's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Its id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Option<SecretString>,
    /// A file that holds it.
    pub client_secret_file: Option<PathBuf>,
}

/// A client that is registered with a provider.
#[derive(Debug, Clone)]
pub struct RegisteredClient {
    /// Its id.
    pub id: String,
    /// Its secret, if it has one.
    pub secret: Option<SecretString>,
}

/// The clients of several tenants, and how a document names one.
#[derive(Debug, Clone, Default)]
pub struct TenantClients {
    /// By what a document says.
    clients: BTreeMap<String, RegisteredClient>,
    /// Where it says so.
    field: Option<String>,
}

impl TenantClients {
    /// The clients of a section, whose own is `own`.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or wrong.
    pub(super) fn of_config(
        config: &ProviderConfig,
        own: Option<&RegisteredClient>,
        setting: &impl Fn(&str) -> String,
    ) -> Result<Self, ConfigError> {
        let wrong = |name: &str, reason: &str| ConfigError::invalid(setting(name), reason);
        let field = match (&config.client_field, &config.client_id_field) {
            (Some(_), Some(_)) => {
                return Err(wrong("client_id_field", "client_field says which client: drop one"));
            }
            (None, None) if config.clients.is_empty() => return Ok(Self::default()),
            (None, None) => {
                let reason = "client_field or client_id_field says which of them a document's is";
                return Err(wrong("clients", reason));
            }
            (name, id) => name.as_ref().or(id.as_ref()).cloned(),
        };
        let by_id = config.client_id_field.is_some();
        let mut clients = BTreeMap::new();
        for (name, client) in &config.clients {
            let id = client.client_id.clone();
            let key = if by_id { id.clone() } else { name.clone() };
            let file = setting(&format!("clients.{name}.client_secret_file"));
            let of_file = client.client_secret_file.as_ref();
            let of_file = of_file.map(|path| secret::of_file(path, &file)).transpose()?;
            let secret = of_file.or_else(|| client.client_secret.clone());
            let is_own = by_id && own.is_some_and(|own| own.id == id);
            if is_own || clients.insert(key, RegisteredClient { id, secret }).is_some() {
                let reason = "another client has the same id";
                return Err(wrong(&format!("clients.{name}.client_id"), reason));
            }
        }
        if by_id && let Some(own) = own {
            clients.insert(own.id.clone(), own.clone());
        }
        Ok(Self { clients, field })
    }

    /// Each with what documents say of it.
    pub fn all(&self) -> impl Iterator<Item = (&String, &RegisteredClient)> {
        self.clients.iter()
    }

    /// Where a document names its client.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

impl Provider {
    /// The client to which the tokens of a document with these fields were issued.
    ///
    /// # Errors
    /// Why nothing may be sent for it.
    pub fn client_of(&self, fields: &DocumentFields) -> Result<&RegisteredClient, String> {
        let Some(field) = self.tenants.field() else {
            return self.client.as_ref().ok_or_else(|| "there is no client_id".to_owned());
        };
        let section = format!("providers.{}", self.id);
        match (fields.get(field).filter(|name| !name.is_empty()), &self.client) {
            (Some(name), _) => self.tenants.clients.get(name).ok_or_else(|| {
                format!(
                    "the document's {field} is none of the clients of {section}; nothing was sent: add \
                     {section}.clients.NAME, or correct the document"
                )
            }),
            (None, Some(client)) => Ok(client),
            (None, None) => Err(format!(
                "the document has no {field}, which names its client, and {section} has no client_id \
                 of its own; nothing was sent"
            )),
        }
    }

    /// What tells the client of a document from those of other tenants; None where there is one client.
    pub fn tenant_of<'a>(&'a self, fields: &'a DocumentFields) -> Option<&'a str> {
        let name = fields.get(self.tenants.field()?).filter(|name| !name.is_empty());
        let own = self.client.as_ref().map(|client| client.id.as_str());
        name.map(String::as_str).or(own)
    }
}
