//! `evergrant keys`: who may ask the gateway.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evergrant_domain::Timestamp;
use evergrant_domain::api_key::{ApiKey, KeySecret, key_hash, key_text};
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_operations::operator::{ActingOperator, ActionSubject, os_user};
use evergrant_ports::{KeyRecord, Store, StoreError};
use serde_json::json;

use crate::args::{KeyWish, KeysCommand};
use crate::exit::Exit;
use crate::output::{Output, or_dash};

/// Carries out a command.
pub(crate) async fn keys(
    store: Arc<dyn Store>,
    command: KeysCommand,
    output: &Output,
) -> anyhow::Result<Exit> {
    let keys = Keys { store, output };
    match command {
        KeysCommand::Create(wish) => keys.create(wish).await,
        KeysCommand::List => keys.list().await,
        KeysCommand::Rotate { name, overlap, valid_for, why } => {
            keys.rotate(&name, overlap, valid_for, why).await
        }
        KeysCommand::Revoke { name, why } => keys.revoke(&name, why).await,
    }
}

struct Keys<'a> {
    store: Arc<dyn Store>,
    output: &'a Output,
}

impl Keys<'_> {
    async fn create(&self, wish: KeyWish) -> anyhow::Result<Exit> {
        let KeyWish { name, scopes, providers, users, valid_for, why } = wish;
        let (text, secret) = self.new_secret(&name, valid_for).await?;
        let key = ApiKey { providers, users, ..ApiKey::new(name.clone(), secret, scopes) };
        let request = json!({
            "name": name, "scopes": key.scopes, "providers": key.providers, "users": key.users,
        });
        let adding = self.store.add_api_key(&key);
        if !self.write(OperatorAction::KeyCreate, request, why, adding).await? {
            anyhow::bail!(
                "there is a key {name}: evergrant keys rotate {name} gives it another secret"
            );
        }
        self.show(&text)
    }

    async fn rotate(
        &self,
        name: &str,
        overlap: Duration,
        valid_for: Option<Duration>,
        why: String,
    ) -> anyhow::Result<Exit> {
        let Some(record) = self.find(name).await? else { return Ok(self.none(name)) };
        let (text, secret) = self.new_secret(name, valid_for).await?;
        let mut key = record.key.clone();
        key.rotate(secret, overlap);
        let request = json!({ "name": name, "overlap_s": overlap.as_secs() });
        let changing = self.store.change_api_key(&record.key, &key);
        if !self.write(OperatorAction::KeyRotate, request, why, changing).await? {
            anyhow::bail!(
                "somebody else has changed the key {name} meanwhile: see evergrant keys list"
            );
        }
        self.show(&text)
    }

    async fn revoke(&self, name: &str, why: String) -> anyhow::Result<Exit> {
        let about = ActionSubject::all(OperatorAction::KeyRevoke, json!({ "name": name }));
        let told = |removed: &bool| match removed {
            true => (ActionOutcome::Done, String::new()),
            false => (ActionOutcome::Nothing, "there is no such key".to_owned()),
        };
        let removing = self.store.remove_api_key(name);
        if !self.operator(why).audited(about, removing, told).await? {
            return Ok(self.none(name));
        }
        self.output
            .message(&format!("the key {name} is removed: gateways refuse it within a second"));
        Ok(Exit::Done)
    }

    async fn list(&self) -> anyhow::Result<Exit> {
        let (records, now) = (self.store.api_keys().await?, self.store.now().await?);
        if records.is_empty() {
            self.output.message("there is no key: evergrant keys create NAME");
            return Ok(Exit::Nothing);
        }
        if self.output.json {
            let shown = records.iter().map(|KeyRecord { key, last_used_at }| {
                let secrets = key.secrets.iter().map(|secret| {
                    json!({ "created_at": secret.created_at, "expires_at": secret.expires_at })
                });
                json!({
                    "name": key.name, "scopes": key.scopes, "providers": key.providers,
                    "users": key.users, "secrets": secrets.collect::<Vec<_>>(),
                    "last_used_at": last_used_at,
                })
            });
            self.output.json_list(&shown.collect::<Vec<_>>());
        } else {
            let header =
                ["NAME", "SCOPES", "PROVIDERS", "USERS", "SECRETS", "EXPIRES", "LAST USED"];
            self.output.table(&header, records.iter().map(|record| row(record, now)));
        }
        Ok(Exit::Done)
    }

    async fn new_secret(
        &self,
        name: &str,
        valid_for: Option<Duration>,
    ) -> anyhow::Result<(String, KeySecret)> {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let text = key_text(name, &(random() + &random())).map_err(anyhow::Error::msg)?;
        let created_at = self.store.now().await?;
        let expires_at = valid_for.map(|valid_for| created_at.plus(valid_for));
        let secret = KeySecret { hash: key_hash(&text), created_at, expires_at };
        Ok((text, secret))
    }

    async fn write(
        &self,
        action: OperatorAction,
        request: serde_json::Value,
        why: String,
        writing: impl Future<Output = Result<bool, StoreError>>,
    ) -> anyhow::Result<bool> {
        let told = |is_written: &bool| match is_written {
            true => (ActionOutcome::Done, String::new()),
            false => (ActionOutcome::Nothing, "the key is another by now".to_owned()),
        };
        let about = ActionSubject::all(action, request);
        self.operator(why).audited(about, writing, told).await.context("write the key")
    }

    /// Prints a key: it is shown to nobody again.
    fn show(&self, text: &str) -> anyhow::Result<Exit> {
        self.output.message("this key is shown once; give it as Authorization: Bearer KEY");
        match self.output.json {
            true => self.output.json(&json!({ "key": text })),
            false => self.output.line(text),
        }
        Ok(Exit::Done)
    }

    async fn find(&self, name: &str) -> anyhow::Result<Option<KeyRecord>> {
        Ok(self.store.api_keys().await?.into_iter().find(|record| record.key.name == name))
    }

    fn none(&self, name: &str) -> Exit {
        self.output.message(&format!("there is no key {name}: see evergrant keys list"));
        Exit::Nothing
    }

    fn operator(&self, why: String) -> ActingOperator {
        ActingOperator { store: Arc::clone(&self.store), who: os_user(), why }
    }
}

fn row(KeyRecord { key, last_used_at }: &KeyRecord, now: Timestamp) -> Vec<String> {
    let listed = |names: Vec<String>| {
        if names.is_empty() { "all".to_owned() } else { names.join(", ") }
    };
    let is_valid = |secret: &&KeySecret| secret.expires_at.is_none_or(|end| now < end);
    vec![
        key.name.clone(),
        key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", "),
        listed(key.providers.iter().map(ToString::to_string).collect()),
        listed(key.users.clone()),
        key.secrets.iter().filter(is_valid).count().to_string(),
        or_dash(key.secrets.last().and_then(|secret| secret.expires_at)),
        or_dash(*last_used_at),
    ]
}
