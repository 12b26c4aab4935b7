//! The environment of a case: a file, a provider, and programs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evergrant_ports::Store;
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_simulator::{Simulator, SimulatorHandle};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use toml::{Table, Value};

use super::TestCase;
use super::documents::SignedIn;
use crate::program::{self, TestProgram};

/// The environment of a case. It is removed with this.
pub(super) struct Scene {
    pub(super) simulator: SimulatorHandle,
    /// The store, in addition to that of the programs.
    pub(super) store: Arc<dyn Store>,
    pub(super) folder: TempDir,
    pub(super) signed_in: SignedIn,
    /// The output of commands, by the name in the case.
    pub(super) told: HashMap<String, CommandOutput>,
    pub(super) program: Option<TestProgram>,
    /// While this exists, nobody else can write to the file.
    pub(super) held: Option<Mutex<rusqlite::Connection>>,
    pub(super) settings: Table,
    logs: Vec<PathBuf>,
    url: String,
    server: JoinHandle<()>,
}

/// A command's output and exit code.
#[derive(Debug, Clone)]
pub(super) struct CommandOutput {
    pub(super) exit: Option<i32>,
    pub(super) text: String,
}

/// The default settings of all cases.
const USUAL: &str = r#"
store = { url = "sqlite:{folder}/evergrant.db" }
queue = { url = "sqlite:{folder}/evergrant.db", retry_ladder = ["500ms", "1s", "2s", "5s"] }
producer = { interval = "500ms", sweep_interval = "1s" }
telemetry = { listen = "off" }
"#;
/// The default settings of every provider's section.
const USUAL_PROVIDER: &str = r#"
preset = "oauth2"
token_url = "{url}/token"
client_id = "evergrant"
client_secret = "evergrant-simulator-secret"
limits = ["200/s"]
death_recheck = "1s"
"#;
/// The default name of the section.
const PROVIDER: &str = "acme";
/// How long a program may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(60);

impl Scene {
    pub(super) async fn new(case: &TestCase) -> Result<Self, String> {
        let config = evergrant_simulator::SimulatorConfig::default();
        let simulator = Simulator::bind(config, "127.0.0.1:0").await.map_err(text)?;
        let (handle, url) = (simulator.handle(), simulator.url());
        let server = tokio::spawn(async {
            let _ = simulator.run(std::future::pending()).await;
        });
        handle.play(case.provider.clone()).map_err(text)?;
        let folder = tempfile::tempdir().map_err(text)?;
        let mut of_the_case = case.recipe.as_deref().map(recipe).transpose()?.unwrap_or_default();
        lay(&mut of_the_case, &case.settings);
        let settings = settings(&of_the_case, &folder, &url)?;
        let store = open(&folder, &settings).await?;
        Ok(Self {
            simulator: handle,
            store,
            folder,
            signed_in: SignedIn::default(),
            told: HashMap::new(),
            program: None,
            held: None,
            settings,
            logs: Vec::new(),
            url,
            server,
        })
    }

    /// Uses other settings.
    pub(super) async fn configure(&mut self, of_the_case: &Table) -> Result<(), String> {
        self.settings = settings(of_the_case, &self.folder, &self.url)?;
        self.store = open(&self.folder, &self.settings).await?;
        Ok(())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn start(&mut self, workers: u32) {
        let log = self.path(&format!("{}.log", self.logs.len() + 1));
        let (config, workers) = (self.path(CONFIG).display().to_string(), workers.to_string());
        let args = ["--config", &config, "run", "--workers", &workers];
        self.logs.push(log.clone());
        self.program = Some(TestProgram::start("evergrant", &args, &[], log));
    }

    /// Ends the program, by a signal or by a kill.
    pub(super) async fn end(&mut self, kill: bool) -> Result<(), String> {
        let mut program = self.program.take().ok_or("nothing runs")?;
        if kill {
            program.kill().await;
            return Ok(());
        }
        program.signal("INT").await;
        program.wait(END_TIMEOUT).await;
        Ok(())
    }

    /// Runs a command. `{folder}` is replaced.
    pub(super) async fn run(&self, arguments: &[String]) -> CommandOutput {
        let config = self.path(CONFIG).display().to_string();
        let folder = self.folder.path().display().to_string();
        let arguments: Vec<_> =
            arguments.iter().map(|argument| argument.replace("{folder}", &folder)).collect();
        let all = ["--config", &config].into_iter().chain(arguments.iter().map(String::as_str));
        let output = program::run("evergrant", &all.collect::<Vec<_>>(), &[]).await;
        CommandOutput { exit: output.status.code(), text: both(&output) }
    }

    /// A command's output as JSON lines; empty if there is none.
    pub(super) async fn json_lines(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        let config = self.path(CONFIG).display().to_string();
        let args = [&["--config", &config], arguments, &["--output", "jsonl"]].concat();
        let output = program::run("evergrant", &args, &[]).await;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The logs of all programs.
    pub(super) fn log(&self) -> String {
        let read = |log: &PathBuf| std::fs::read_to_string(log).unwrap_or_default();
        self.logs.iter().map(read).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.server.abort();
    }
}

const CONFIG: &str = "evergrant.toml";

/// The end of a log, for diagnosis.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The default settings with those of this case on top.
fn settings(of_the_case: &Table, folder: &TempDir, url: &str) -> Result<Table, String> {
    let mut all: Table = toml::from_str(USUAL).map_err(text)?;
    lay(&mut all, of_the_case);
    let providers = all.entry("providers").or_insert_with(|| Value::Table(Table::new()));
    let providers = providers.as_table_mut().ok_or("providers: not a table")?;
    if providers.is_empty() {
        providers.insert(PROVIDER.to_owned(), Value::Table(Table::new()));
    }
    for (_, provider) in providers.iter_mut() {
        let mut section: Table = toml::from_str(USUAL_PROVIDER).map_err(text)?;
        lay(&mut section, provider.as_table().ok_or("a provider is no table")?);
        *provider = Value::Table(section);
    }
    let folder = folder.path().display().to_string();
    let written = toml::to_string(&all).map_err(text)?;
    toml::from_str(&written.replace("{folder}", &folder).replace("{url}", url)).map_err(text)
}

/// The settings of a recipe of `evergrant init`.
fn recipe(name: &str) -> Result<Table, String> {
    let path =
        format!("{}/../console/cli/src/init/recipes/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let store = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    format!("[store]\n{store}").parse().map_err(text)
}

fn lay(below: &mut Table, above: &Table) {
    for (name, value) in above {
        match (below.get_mut(name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay(below, above),
            _ => drop(below.insert(name.clone(), value.clone())),
        }
    }
}

async fn open(folder: &TempDir, settings: &Table) -> Result<Arc<dyn Store>, String> {
    let path = folder.path().join(CONFIG);
    std::fs::write(&path, toml::to_string(settings).map_err(text)?).map_err(text)?;
    let config = Config::from_parts(Some(&path), [], &[]).map_err(text)?;
    connect::store(&config).await.map_err(text)
}
