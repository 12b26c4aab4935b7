//! All presets at once: producer and worker over a file, each provider a simulator in its dialect.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use evergrant_domain::GrantStatus;
use evergrant_ports::{GrantFilter, GrantView, ImportDocument, Store};
use evergrant_provider::preset_names;
use evergrant_runtime::config::Config;
use evergrant_simulator::{
    ClientKey, ProviderDialect, Simulator, SimulatorConfig, SimulatorHandle, TokenState,
};
use futures::TryStreamExt;
use serde_json::{Map, Value, json};
use url::Url;

use super::*;
use crate::provider_test::TrialSubject;

/// How long all of it may take on a busy machine.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A preset and the simulator that stands for its provider.
struct StandIn {
    name: &'static str,
    simulator: SimulatorHandle,
    variables: Vec<(String, String)>,
    fields: BTreeMap<String, String>,
}

impl StandIn {
    async fn start(name: &'static str, folder: &Path) -> Self {
        let subject = TrialSubject::from_preset(name).unwrap();
        let key = ClientKey::generate().unwrap();
        let key_file = folder.join(format!("{name}.pem"));
        std::fs::write(&key_file, &key.private_pem).unwrap();
        let dialect = ProviderDialect::parse(&toml::to_string(&subject.file).unwrap()).unwrap();
        let config = SimulatorConfig {
            client_key: Some(key),
            dialect: Some(dialect),
            ..SimulatorConfig::default()
        };
        let (id, secret) = (config.client_id.clone(), config.client_secret.clone());
        let simulator = Simulator::bind(config, "127.0.0.1:0").await.unwrap();
        let (handle, url) = (simulator.handle(), Url::parse(&simulator.url()).unwrap());
        tokio::spawn(simulator.run(std::future::pending()));
        let url = subject.provider.token_url.on_host(&url).unwrap();
        let required = evergrant_provider::preset(name).unwrap().about.requires;
        let required = required.into_keys().map(|path| (path, "sample.example".to_owned()));
        let given = [
            ("preset", name.to_owned()),
            ("token_url", url.as_str().to_owned()),
            ("token_hosts", "[\"127.0.0.1:*\"]".to_owned()),
            ("client_id", id),
            ("client_secret", secret),
            ("client_key_file", key_file.display().to_string()),
            ("limits", "[]".to_owned()),
            ("death_recheck", "100ms".to_owned()),
        ];
        let given = given.map(|(path, value)| (path.to_owned(), value)).into_iter();
        let variable = |path: String| {
            let section = name.to_uppercase();
            format!("PROVIDERS__{section}__{}", path.replace('.', "__").to_uppercase())
        };
        let variables = given.chain(required).map(|(path, value)| (variable(path), value));
        let fields = subject.provider.sample_document().into_iter().collect();
        Self { name, simulator: handle, variables: variables.collect(), fields }
    }

    fn id(&self, user: &str) -> String {
        format!("{}-{user}", self.name)
    }

    fn document(&self, user: &str) -> ImportDocument {
        let signed_in = serde_json::to_value(self.simulator.sign_in(user)).unwrap();
        let mut document: Map<String, Value> =
            self.fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        document.insert("_id".to_owned(), json!(self.id(user)));
        document.insert("provider".to_owned(), json!(self.name));
        document.insert("access_token".to_owned(), json!("old"));
        document.insert("refresh_token".to_owned(), signed_in["refresh_token"].clone());
        ImportDocument(document)
    }

    /// What is not as it should be in the end.
    fn wrong(&self, stored: &BTreeMap<String, Value>) -> Option<String> {
        let document = &stored[&self.id("refreshed")];
        let token = document["refresh_token"].as_str().unwrap_or_default();
        let state = self.simulator.token_state(token);
        if state != TokenState::Live || document["access_token"] == "old" {
            return Some(format!("{}: the stored token is {state:?}", self.name));
        }
        let stats = self.simulator.stats();
        (stats.reused > 0).then(|| format!("{}: a token was sent twice", self.name))
    }
}

fn config(stand_ins: &[StandIn], folder: &Path) -> Config {
    let file = format!("sqlite:{}", folder.join("evergrant.db").display());
    let own = [
        ("STORE__URL", file.as_str()),
        ("STORE__PROVIDER_FIELD", "provider"),
        ("QUEUE__URL", &file),
        ("QUEUE__RETRY_LADDER", r#"["200ms", "1s"]"#),
        ("PRODUCER__INTERVAL", "500ms"),
        ("TELEMETRY__LISTEN", "off"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let theirs = stand_ins.iter().flat_map(|stand_in| stand_in.variables.clone());
    let all = own.into_iter().chain(theirs);
    let all = all.map(|(name, value)| (format!("EVERGRANT_{name}").into(), OsString::from(value)));
    Config::from_parts(None, all, &[]).unwrap()
}

/// The grants that have not come to what they must.
fn unfinished(stand_ins: &[StandIn], grants: &[GrantView]) -> Vec<String> {
    let grant = |id: &str| grants.iter().find(|grant| grant.id.to_string().contains(id));
    let mut left = Vec::new();
    for stand_in in stand_ins {
        let (refreshed, dead) = (stand_in.id("refreshed"), stand_in.id("dead"));
        if grant(&refreshed).is_none_or(|grant| grant.generation == 0) {
            let why = stand_in.simulator.refusals().pop().unwrap_or_default();
            left.push(format!("{refreshed} is not refreshed {why}"));
        }
        if grant(&dead).is_none_or(|grant| grant.status != Some(GrantStatus::NeedsReauth)) {
            left.push(format!("{dead} is not known to be dead"));
        }
    }
    left
}

async fn grants(store: &dyn Store) -> Vec<GrantView> {
    store.list(GrantFilter::default()).try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_preset_is_kept_alive_in_its_own_dialect() {
    let folder = tempfile::tempdir().unwrap();
    let mut stand_ins = Vec::new();
    for name in preset_names() {
        stand_ins.push(StandIn::start(name, folder.path()).await);
    }
    let config = config(&stand_ins, folder.path());
    let shutdown = ShutdownSignal::by_hand();
    let process = Process::connect(&config, "evergrant", shutdown.clone()).await.unwrap();
    let engine = Engine::new(&config, &process, 1).await.unwrap();
    assert!(process.wait_until_ready().await.unwrap());
    let store = &process.store;
    let mut documents = Vec::new();
    for stand_in in &stand_ins {
        documents.extend([stand_in.document("refreshed"), stand_in.document("dead")]);
        stand_in.simulator.revoke(&["dead"]);
    }
    store.import(documents).await.unwrap();
    let running = tokio::spawn(engine.run(shutdown.clone()));
    let finished = tokio::time::timeout(TRIAL_TIMEOUT, async {
        while !unfinished(&stand_ins, &grants(&**store).await).is_empty() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    let is_finished = finished.await.is_ok();
    let left = unfinished(&stand_ins, &grants(&**store).await);
    assert!(is_finished, "{}", left.join("\n"));
    shutdown.begin();
    running.await.unwrap();
    let stored: Vec<Value> = store.export().try_collect().await.unwrap();
    let id = |document: &Value| document["_id"].as_str().unwrap_or_default().to_owned();
    let stored = stored.into_iter().map(|document| (id(&document), document)).collect();
    let wrong: Vec<String> =
        stand_ins.iter().filter_map(|stand_in| stand_in.wrong(&stored)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
