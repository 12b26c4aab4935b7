//! Evergrant in one process and one file, with a provider.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use evergrant_domain::GrantStatus;
use evergrant_ports::{GrantFilter, GrantView, Store};
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_simulator::{CheckReport, SeedPlan, Simulator, SimulatorHandle};
use futures::TryStreamExt;
use tempfile::TempDir;

use crate::ledger;
use crate::program::{self, TestProgram};

/// A file and a provider. They are removed with this.
pub struct EmbeddedDeployment {
    /// The provider, in this process.
    pub simulator: SimulatorHandle,
    /// The store, in addition to that of the programs.
    pub store: Arc<dyn Store>,
    /// The folder of the file and the logs.
    pub folder: TempDir,
    /// The environment of the programs.
    pub variables: Vec<(String, String)>,
    started: AtomicU32,
}

impl EmbeddedDeployment {
    /// A new file, and a provider that behaves as `provider` says.
    ///
    /// # Panics
    /// If one of them cannot be created.
    pub async fn new(provider: evergrant_simulator::SimulatorConfig) -> Self {
        let secret = provider.client_secret.clone();
        let simulator = Simulator::bind(provider, "127.0.0.1:0").await.expect("start the provider");
        let (handle, url) = (simulator.handle(), simulator.url());
        tokio::spawn(simulator.run(std::future::pending()));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = format!("sqlite:{}", folder.path().join("evergrant.db").display());
        let variables = [
            ("STORE__URL", file.as_str()),
            ("QUEUE__URL", &file),
            ("QUEUE__RETRY_LADDER", r#"["200ms", "1s", "5s"]"#),
            ("PRODUCER__INTERVAL", "500ms"),
            ("PROVIDERS__SIMULATOR__TOKEN_URL", &format!("{url}/token")),
            ("PROVIDERS__SIMULATOR__CLIENT_ID", "evergrant"),
            ("PROVIDERS__SIMULATOR__CLIENT_SECRET", &secret),
            ("PROVIDERS__SIMULATOR__LIMITS", "[]"),
            ("PROVIDERS__SIMULATOR__DEATH_RECHECK", "1s"),
            ("TELEMETRY__LISTEN", "off"),
        ]
        .map(|(name, value)| (format!("EVERGRANT_{name}"), value.to_owned()))
        .to_vec();
        let given = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let config = Config::from_parts(None, given, &[]).expect("valid settings");
        let store = connect::store(&config).await.expect("a store");
        Self { simulator: handle, store, folder, variables, started: AtomicU32::new(0) }
    }

    /// Sets a variable for programs that are started later.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((format!("EVERGRANT_{name}"), value.to_owned()));
    }

    /// Starts `evergrant`.
    pub fn start(&self, args: &[&str]) -> TestProgram {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.folder.path().join(format!("{number}.log"));
        TestProgram::start("evergrant", args, &self.variables, log)
    }

    /// Runs a command of `evergrant` to its end.
    pub async fn evergrant(&self, args: &[&str]) -> Output {
        program::run("evergrant", args, &self.variables).await
    }

    /// Signs users in with the provider and imports their documents.
    ///
    /// # Panics
    /// If they cannot be imported.
    pub async fn import(&self, plan: SeedPlan) {
        let path = ledger::seed_file(&self.simulator, plan, self.folder.path());
        let import = self.evergrant(&["import", &path]).await;
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    }

    /// All grants, as operators see them.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub async fn grants(&self) -> Vec<GrantView> {
        self.store.list(GrantFilter::default()).try_collect().await.expect("read all grants")
    }

    /// Grants that are refreshed.
    pub async fn refreshed(&self) -> usize {
        self.grants().await.iter().filter(|grant| grant.generation > 0).count()
    }

    /// Grants that are neither refreshed nor ended.
    pub async fn unfinished(&self) -> usize {
        let ended = |status| {
            matches!(
                status,
                Some(GrantStatus::NeedsReauth | GrantStatus::Failed | GrantStatus::NoToken)
            )
        };
        let unfinished = |grant: &&GrantView| grant.generation == 0 && !ended(grant.status);
        self.grants().await.iter().filter(unfinished).count()
    }

    /// The ledger's verdict on all documents.
    ///
    /// # Panics
    /// If the file cannot be read.
    pub async fn judge(&self) -> CheckReport {
        ledger::judge(&self.simulator, &*self.store).await
    }
}
