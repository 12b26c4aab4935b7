//! The observed state after the steps of a case.

use std::collections::{BTreeMap, HashMap};

use evergrant_simulator::{GrantVerdict, LedgerDocument, RequestRecord};
use futures::TryStreamExt;
use serde_json::Value;
use toml::Table;

use super::condition::{grants, status};
use super::scene::{CommandOutput, Scene, text};

/// The observed state.
pub(super) struct ObservedState {
    pub(super) documents: Vec<SeenDocument>,
    pub(super) requests: Vec<RequestRecord>,
    /// Reasons of dead letters, by the ids of their documents.
    pub(super) letters: BTreeMap<String, Vec<String>>,
    /// The state of each provider.
    pub(super) providers: BTreeMap<String, String>,
    pub(super) told: HashMap<String, CommandOutput>,
    pub(super) log: String,
}

/// A document, and the ledger's verdict on its grant.
pub(super) struct SeenDocument {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) generation: u64,
    pub(super) attempts: u32,
    pub(super) verdict: GrantVerdict,
    /// The document itself.
    pub(super) json: Value,
}

impl ObservedState {
    pub(super) async fn from_scene(scene: &mut Scene) -> Result<Self, String> {
        let said_letters = scene.json_lines(&["dlq", "show", "--limit", "1000"]).await;
        let mut letters = BTreeMap::<String, Vec<String>>::new();
        for letter in said_letters {
            let reason = letter["reason"].as_str().unwrap_or_default().to_owned();
            letters.entry(plain_id(&letter["id"])).or_default().push(reason);
        }
        let said_providers = scene.json_lines(&["providers", "list"]).await;
        let state = |provider: &Value| {
            let word = |name: &str| provider[name].as_str().unwrap_or_default().to_owned();
            (word("provider"), word("state"))
        };
        Ok(Self {
            documents: documents(scene).await?,
            requests: scene.simulator.requests(),
            letters,
            providers: said_providers.iter().map(state).collect(),
            told: scene.told.clone(),
            log: scene.log(),
        })
    }
}

async fn documents(scene: &Scene) -> Result<Vec<SeenDocument>, String> {
    let exported: Vec<Value> = scene.store.export().try_collect().await.map_err(text)?;
    // Two ids can look alike: an ObjectId, and its digits as a string.
    let mut of_id = HashMap::<String, Vec<Value>>::new();
    for document in exported {
        of_id.entry(plain_id(&document["_id"])).or_default().push(document);
    }
    let field = field_of(&scene.settings, "refresh_token");
    let mut seen = Vec::new();
    for grant in grants(scene).await? {
        let id = grant.id.to_string();
        let exported = of_id.get_mut(&id).and_then(Vec::pop);
        let json = exported.ok_or_else(|| format!("{id} is not in the export"))?;
        let refresh_token = field.split('.').fold(&json, |value, part| &value[part]).clone();
        let judged = LedgerDocument { refresh_token, ..LedgerDocument::default() };
        let verdict = scene.simulator.judge(&judged).verdict;
        let (generation, attempts) = (grant.generation, grant.attempts);
        seen.push(SeenDocument { id, status: status(&grant), generation, attempts, verdict, json });
    }
    match of_id.iter().find(|(_, left)| !left.is_empty()) {
        None => Ok(seen),
        Some((id, _)) => Err(format!("{id} is exported and not listed")),
    }
}

/// The application's name of a field.
fn field_of(settings: &Table, name: &str) -> String {
    let set = || settings.get("store")?.get("fields")?.get(name)?.as_str();
    set().unwrap_or(name).to_owned()
}

/// An id as people see it.
fn plain_id(id: &Value) -> String {
    let of_kind = |kind: &str| id.get(kind).and_then(Value::as_str).map(str::to_owned);
    let text = || id.as_str().map(str::to_owned);
    text()
        .or_else(|| of_kind("$oid"))
        .or_else(|| of_kind("$numberInt"))
        .unwrap_or_else(|| id.to_string())
}
