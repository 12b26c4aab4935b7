//! Evergrant on the servers: a database, queue names, and programs as separate processes.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use evergrant_ports::JobQueue;
use evergrant_rescue::SealingKeys;
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_testkit::deployment::provider;
use evergrant_testkit::program::{self, TestProgram};
use mongodb::Collection;
use mongodb::bson::Document;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::metrics::Samples;
use crate::provider::CLIENT;
use crate::store::{Store, free_port};
use crate::{Servers, usage};

/// A deployment for one measurement.
pub(crate) struct Site {
    pub(crate) collection: Collection<Document>,
    /// The settings of its programs.
    pub(crate) config: Config,
    pub(crate) database: String,
    queue: Arc<dyn JobQueue>,
    folder: TempDir,
    variables: Vec<(String, String)>,
    http: reqwest::Client,
    started: AtomicU32,
}

/// A working process: a worker, or `evergrant run`.
pub(crate) struct Worker {
    program: TestProgram,
    http: reqwest::Client,
    address: String,
}

impl Site {
    /// A deployment with indexes and queues, and without documents. `settings` are variables
    /// without their prefix.
    pub(crate) async fn new(
        servers: &Servers,
        store: &Store,
        token_url: &str,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let name = format!("bench-{}", uuid::Uuid::new_v4().simple());
        let folder = tempfile::tempdir().context("a folder for logs and journals")?;
        let (journal, key) = (folder.path().display().to_string(), SealingKeys::generate());
        let common = [
            ("STORE__URL", store.url.as_str()),
            ("STORE__DATABASE", &name),
            ("STORE__COLLECTION", "tokens"),
            ("QUEUE__URL", &servers.broker.url),
            ("QUEUE__PREFIX", &name),
            ("PROVIDERS__SIMULATOR__TOKEN_URL", token_url),
            ("PROVIDERS__SIMULATOR__CLIENT_ID", CLIENT.0),
            ("PROVIDERS__SIMULATOR__CLIENT_SECRET", CLIENT.1),
            ("PROVIDERS__SIMULATOR__LIMITS", "[]"),
            // As the README recommends for workers.
            ("RESCUE__KEY", key.expose_secret()),
            ("RESCUE__JOURNAL", &journal),
            ("TELEMETRY__LISTEN", "off"),
            ("TELEMETRY__LOG_LEVEL", "warn"),
        ];
        let variables: Vec<(String, String)> = common
            .iter()
            .chain(settings)
            .map(|(name, value)| (format!("EVERGRANT_{name}"), (*value).to_owned()))
            .collect();
        let read = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let config = Config::from_parts(None, read, &[]).context("the programs' settings")?;
        let queue = prepare(&config).await?;
        Ok(Self {
            queue,
            collection: store.client().await?.database(&name).collection("tokens"),
            config,
            database: name,
            folder,
            variables,
            http: evergrant_testkit::http_client(),
            started: AtomicU32::new(0),
        })
    }

    /// Runs the producer once.
    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        let output = program::run("evergrant-producer", &["--once"], &self.variables).await;
        succeeded(&output)
    }

    /// Starts the producer for one pass.
    pub(crate) fn start_publishing(&self) -> TestProgram {
        TestProgram::start("evergrant-producer", &["--once"], &self.variables, self.log("producer"))
    }

    /// Starts a worker.
    pub(crate) fn start_worker(&self) -> anyhow::Result<Worker> {
        Worker::start("evergrant-worker", &[], &self.variables, self.log("worker"), &self.http)
    }

    /// Starts this many workers.
    pub(crate) fn start_workers(&self, count: u16) -> anyhow::Result<Vec<Worker>> {
        (0..count).map(|_| self.start_worker()).collect()
    }

    /// Jobs in the work queues.
    pub(crate) async fn depth(&self) -> anyhow::Result<u64> {
        Ok(self.queue.depth(&provider()).await?)
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("{number}-{name}.log"))
    }
}

/// Creates the indexes and the queues, before they have content.
async fn prepare(config: &Config) -> anyhow::Result<Arc<dyn JobQueue>> {
    connect::store(config).await?.prepare().await?;
    let queue = connect::queue(config, "bench".to_owned())?;
    queue.prepare().await?;
    Ok(queue)
}

pub(crate) fn succeeded(output: &Output) -> anyhow::Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the producer failed: {said}");
    Ok(())
}

impl Worker {
    /// Starts a working program with metrics.
    pub(crate) fn start(
        program: &str,
        args: &[&str],
        variables: &[(String, String)],
        log: std::path::PathBuf,
        http: &reqwest::Client,
    ) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let args = [args, &["--listen", &address]].concat();
        let program = TestProgram::start(program, &args, variables, log);
        Ok(Self { program, http: http.clone(), address })
    }

    /// Its metrics. None while it does not answer.
    pub(crate) async fn metrics(&self) -> Option<Samples> {
        let text = self.get("metrics").await?.text().await.ok()?;
        Some(Samples::read(&text))
    }

    /// Whether it consumes.
    pub(crate) async fn is_ready(&self) -> bool {
        self.get("readyz").await.is_some_and(|answer| answer.status().is_success())
    }

    async fn get(&self, path: &str) -> Option<reqwest::Response> {
        self.http.get(format!("http://{}/{path}", self.address)).send().await.ok()
    }

    /// Its CPU time so far.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        usage::cpu_us(self.program.id())
    }

    /// Its peak memory.
    pub(crate) fn peak_rss_mib(&self) -> anyhow::Result<f64> {
        usage::peak_rss_mib(self.program.id())
    }

    /// Fails with its log if it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        ensure!(self.program.is_running(), "a worker ended: {}", self.program.logged());
        Ok(())
    }

    /// Stops it as an orchestrator does.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.program.terminate().await;
        ensure!(status.success(), "a worker failed ({status}): {}", self.program.logged());
        Ok(())
    }
}
