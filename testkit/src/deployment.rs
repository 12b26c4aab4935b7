//! Evergrant on real servers: its own database, queue names and provider.

use std::future::Future;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evergrant_domain::{DeadLetter, ProviderId};
use evergrant_ports::{JobQueue, Store};
use evergrant_rescue::SealingKeys;
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_simulator::{CheckReport, SeedPlan, Simulator, SimulatorHandle};
use mongodb::bson::{Document, doc};
use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::ledger;
use crate::program::{self, TestProgram};

/// The provider's name in all deployments.
pub const PROVIDER: &str = "simulator";

/// Evergrant on real servers. It is removed with this, except the queues and the database, which
/// are removed with their containers.
pub struct TestDeployment {
    /// The provider, in this process.
    pub simulator: SimulatorHandle,
    /// The store and the queue, as the programs see them.
    pub store: Arc<dyn Store>,
    /// See [`Self::store`].
    pub queue: Arc<dyn JobQueue>,
    /// The collection of token documents.
    pub collection: mongodb::Collection<Document>,
    /// Where logs and files go.
    pub folder: TempDir,
    /// The environment of the programs.
    pub variables: Vec<(String, String)>,
    started: AtomicU32,
}

impl TestDeployment {
    /// A deployment on the servers at these URLs.
    ///
    /// # Panics
    /// If a server cannot be reached.
    pub async fn new(
        amqp_url: &str,
        mongodb_url: &str,
        provider: evergrant_simulator::SimulatorConfig,
    ) -> Self {
        let name = format!("e2e-{}", uuid::Uuid::new_v4().simple());
        let secret = provider.client_secret.clone();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let journal = folder.path().join("journal");
        let simulator = Simulator::bind(provider, "127.0.0.1:0").await.expect("start the provider");
        let handle = simulator.handle();
        let variables = [
            ("STORE__URL", mongodb_url),
            ("STORE__DATABASE", &name),
            ("STORE__COLLECTION", "tokens"),
            ("QUEUE__URL", amqp_url),
            ("QUEUE__PREFIX", &name),
            ("PRODUCER__INTERVAL", "1s"),
            ("PROVIDERS__SIMULATOR__TOKEN_URL", &format!("{}/token", simulator.url())),
            ("PROVIDERS__SIMULATOR__CLIENT_ID", "evergrant"),
            ("PROVIDERS__SIMULATOR__CLIENT_SECRET", &secret),
            ("PROVIDERS__SIMULATOR__LIMITS", "[]"),
            ("PROVIDERS__SIMULATOR__DEATH_RECHECK", "1s"),
            ("RESCUE__KEY", SealingKeys::generate().expose_secret()),
            ("RESCUE__JOURNAL", journal.to_str().expect("a path in UTF-8")),
            ("TELEMETRY__LISTEN", "off"),
            ("TELEMETRY__LOG_LEVEL", "debug"),
        ]
        .map(|(name, value)| (format!("EVERGRANT_{name}"), value.to_owned()))
        .to_vec();
        tokio::spawn(async move {
            simulator.run(std::future::pending()).await.expect("serve the provider");
        });
        let config = config(&variables);
        let store = connect::store(&config).await.expect("a store");
        let queue = connect::queue(&config, "tests".to_owned()).expect("a queue");
        let client = mongodb::Client::with_uri_str(mongodb_url).await.expect("a MongoDB client");
        Self {
            simulator: handle,
            store,
            queue,
            collection: client.database(&name).collection("tokens"),
            folder,
            variables,
            started: AtomicU32::new(0),
        }
    }

    /// Sets a variable for programs that are started later.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((format!("EVERGRANT_{name}"), value.to_owned()));
    }

    /// Removes a variable for programs that are started later.
    pub fn unset(&mut self, name: &str) {
        let name = format!("EVERGRANT_{name}");
        self.variables.retain(|(known, _)| *known != name);
    }

    /// Starts a program.
    pub fn start(&self, name: &str, args: &[&str]) -> TestProgram {
        self.start_with(name, args, &[])
    }

    /// Starts a program with some variables of its own.
    pub fn start_with(&self, name: &str, args: &[&str], own: &[(&str, &str)]) -> TestProgram {
        let variable =
            |(name, value): &(&str, &str)| (format!("EVERGRANT_{name}"), (*value).to_owned());
        self.start_among(name, args, own.iter().map(variable))
    }

    /// Starts a producer and this many workers, as if each ran on its own machine.
    pub fn start_all(&self, workers: usize) -> Vec<TestProgram> {
        let workers = (1..=workers)
            .map(|number| self.start_on(&format!("worker-{number}"), "evergrant-worker"));
        std::iter::once(self.start_on("producer", "evergrant-producer")).chain(workers).collect()
    }

    fn start_on(&self, host: &str, name: &str) -> TestProgram {
        self.start_among(name, &[], [("HOSTNAME".to_owned(), host.to_owned())])
    }

    fn start_among(
        &self,
        name: &str,
        args: &[&str],
        own: impl IntoIterator<Item = (String, String)>,
    ) -> TestProgram {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.folder.path().join(format!("{number}-{name}.log"));
        let variables: Vec<_> = self.variables.iter().cloned().chain(own).collect();
        TestProgram::start(name, args, &variables, log)
    }

    /// What a variable is set to.
    ///
    /// # Panics
    /// If it is not set.
    pub fn variable(&self, name: &str) -> String {
        let name = format!("EVERGRANT_{name}");
        let found = self.variables.iter().rfind(|(known, _)| *known == name);
        found.expect("the variable is set").1.clone()
    }

    /// Runs a program to its end.
    pub async fn run(&self, name: &str, args: &[&str]) -> Output {
        program::run(name, args, &self.variables).await
    }

    /// Runs a command of `evergrant`.
    pub async fn evergrant(&self, args: &[&str]) -> Output {
        self.run("evergrant", args).await
    }

    /// Creates users at the provider and a file of their documents; returns its path.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn seed_file(&self, plan: SeedPlan) -> String {
        ledger::seed_file(&self.simulator, plan, self.folder.path())
    }

    /// Documents that match.
    ///
    /// # Panics
    /// If the store does not answer.
    pub async fn count(&self, filter: Document) -> u64 {
        self.collection.count_documents(filter).await.expect("count documents")
    }

    /// Documents that are still to be refreshed: active, or not adopted yet.
    pub async fn unfinished(&self) -> u64 {
        self.count(unfinished()).await
    }

    /// Whether no document is [`Self::unfinished`]. Also false while the store does not answer.
    pub async fn is_finished(&self) -> bool {
        self.collection.count_documents(unfinished()).await.is_ok_and(|count| count == 0)
    }

    /// Jobs in the work queues.
    ///
    /// # Panics
    /// If the broker does not answer.
    pub async fn queued(&self) -> u64 {
        self.queue.depth(&provider()).await.expect("the queue's depth")
    }

    /// All dead letters.
    ///
    /// # Panics
    /// If the broker does not answer.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut look = self.queue.dead_letters(&provider()).await.expect("look at dead letters");
        look.browse_only();
        let mut letters = Vec::new();
        while let Some(letter) = look.next().await.expect("the next dead letter") {
            letters.push(letter);
        }
        look.close().await.expect("end the look");
        letters
    }

    /// The ledger's verdict on all documents.
    ///
    /// # Panics
    /// If the store does not answer.
    pub async fn judge(&self) -> CheckReport {
        ledger::judge(&self.simulator, &*self.store).await
    }

    /// The logs of all programs: file names and lines.
    ///
    /// # Panics
    /// If the logs cannot be read.
    pub fn logs(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(self.folder.path()).expect("the folder").flatten();
        let mut files: Vec<_> = files.map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        files.sort();
        let lines = files.into_iter().flat_map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read(&path).expect("read a log");
            let text = String::from_utf8_lossy(&text);
            text.lines().map(|line| (name.clone(), line.to_owned())).collect::<Vec<_>>()
        });
        lines.collect()
    }

    /// Checks that the programs' output holds no secret.
    ///
    /// # Panics
    /// If it holds a token or the client's secret.
    pub fn assert_no_secret_was_written(&self, outputs: &[&Output]) {
        let mut written: Vec<String> = self.logs().into_iter().map(|(_, line)| line).collect();
        for output in outputs {
            written.push(String::from_utf8_lossy(&output.stdout).into_owned());
            written.push(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        for secret in ["evgsim_", "evergrant-simulator-secret"] {
            assert!(!written.iter().any(|text| text.contains(secret)), "{secret} was written");
        }
    }
}

/// A failing test prints the end of its programs' logs, and keeps them.
impl Drop for TestDeployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            show_last_words(self.folder.path(), &self.logs());
        }
    }
}

/// How many lines of each program are shown.
const LAST_WORDS: usize = 15;

#[allow(clippy::print_stdout, reason = "seen when the test fails")]
fn show_last_words(folder: &Path, logs: &[(String, String)]) {
    println!("what the programs said last; the rest is in {}:", folder.display());
    for program in logs.chunk_by(|(one, _), (other, _)| one == other) {
        println!("{}:", program[0].0);
        for (_, line) in &program[program.len().saturating_sub(LAST_WORDS)..] {
            println!("  {line}");
        }
    }
}

/// The provider's name, typed.
///
/// # Panics
/// Never.
pub fn provider() -> ProviderId {
    PROVIDER.parse().expect("a name")
}

/// Which documents are [`TestDeployment::unfinished`].
pub(crate) fn unfinished() -> Document {
    let refreshed = doc! { "evergrant.generation": { "$gte": 1 } };
    let ended = doc! { "evergrant.status": { "$in": ["needs_reauth", "failed", "no_token"] } };
    doc! { "$nor": [refreshed, ended] }
}

fn config(variables: &[(String, String)]) -> Config {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Config::from_parts(None, variables, &[]).expect("valid settings")
}

/// The timeout of [`eventually`]. Far longer than a busy machine needs: it does not check speed.
const NEVER: Duration = Duration::from_secs(600);

/// The pause between polls, as a multiple of a poll's duration. A poll of the store counts all of
/// its documents; polls without pauses would overload a slow server.
const PAUSE_PER_LOOK: u32 = 5;

/// Waits until a condition holds.
///
/// # Panics
/// On a timeout.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + NEVER;
    loop {
        let began = tokio::time::Instant::now();
        if is_so().await {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {NEVER:?}: {what}");
        let pause = began.elapsed() * PAUSE_PER_LOOK;
        tokio::time::sleep(pause.clamp(Duration::from_millis(100), Duration::from_secs(5))).await;
    }
}
