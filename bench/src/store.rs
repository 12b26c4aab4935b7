//! MongoDB: a given server, or a new one for each measurement.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mongodb::bson::doc;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::args::ServerArgs;

/// The program to start if no server is given.
const PROGRAM: &str = "secantusd-rs";
const START_LIMIT: Duration = Duration::from_secs(30);

/// The source of stores.
pub(crate) enum Stores {
    /// One server for all measurements, by its URL.
    Given(String),
    /// A new process on an empty folder each time.
    Started {
        /// The program.
        program: PathBuf,
        /// Whether acknowledged writes are synced to disk.
        sync: bool,
    },
}

/// A running store. One that was started here ends when this is dropped.
pub(crate) struct Store {
    pub(crate) url: String,
    process: Option<Child>,
    /// Dropped after the process.
    _folder: Option<TempDir>,
}

impl Stores {
    /// The source that the command line and the environment select.
    pub(crate) fn from_args(args: &ServerArgs) -> anyhow::Result<Self> {
        if let Some(url) = &args.store {
            ensure!(!args.sync, "--sync is for a store that is started here, not for one by URL");
            return Ok(Self::Given(url.clone()));
        }
        let program = args.secantusd.clone().or_else(find_program).context(
            "no MongoDB: give one by --store URL, or install secantusd-rs (bench/setup.sh)",
        )?;
        Ok(Self::Started { program, sync: args.sync })
    }

    /// A description for the report.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Given(_) => "given".to_owned(),
            Self::Started { sync: true, .. } => format!("{PROGRAM} --sync-on-commit"),
            Self::Started { sync: false, .. } => PROGRAM.to_owned(),
        }
    }

    /// A new store, as far as possible.
    pub(crate) async fn fresh(&self) -> anyhow::Result<Store> {
        match self {
            Self::Given(url) => Ok(Store { url: url.clone(), process: None, _folder: None }),
            Self::Started { program, sync } => start(program, *sync).await,
        }
    }
}

impl Store {
    /// The CPU time of its process, if that was started here.
    pub(crate) fn cpu_us(&self) -> Option<u64> {
        let pid = self.process.as_ref().and_then(Child::id)?;
        crate::usage::cpu_us(pid).ok()
    }

    /// A client of it.
    pub(crate) async fn client(&self) -> anyhow::Result<mongodb::Client> {
        // The driver's message may quote the URL.
        let client = mongodb::Client::with_uri_str(&self.url).await;
        client.map_err(|_| anyhow::anyhow!("the URL of the store is no MongoDB URL"))
    }
}

/// On the PATH, or where cargo installs it.
fn find_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::home_dir().unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend([home.join(".cargo/bin"), home.join(".local/bin")]);
    folders.into_iter().map(|folder| folder.join(PROGRAM)).find(|program| program.is_file())
}

async fn start(program: &Path, sync: bool) -> anyhow::Result<Store> {
    let folder = tempfile::tempdir().context("a folder for the store")?;
    let port = free_port()?;
    let mut command = Command::new(program);
    command
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--storage-path"])
        .arg(folder.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if sync {
        command.arg("--sync-on-commit");
    }
    let process = command.spawn().with_context(|| format!("start {}", program.display()))?;
    let url = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    let mut store = Store { url, process: Some(process), _folder: Some(folder) };
    wait_until_ready(&mut store).await?;
    Ok(store)
}

async fn wait_until_ready(store: &mut Store) -> anyhow::Result<()> {
    let url = format!("{}&serverSelectionTimeoutMS=500", store.url);
    let client = mongodb::Client::with_uri_str(&url).await?;
    let deadline = tokio::time::Instant::now() + START_LIMIT;
    while client.database("admin").run_command(doc! { "ping": 1 }).await.is_err() {
        if let Some(Ok(Some(status))) = store.process.as_mut().map(Child::try_wait) {
            bail!("{PROGRAM} ended at once ({status}): is its version 0.5.3-beta.193?");
        }
        ensure!(tokio::time::Instant::now() < deadline, "{PROGRAM} did not answer in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("a free port")?;
    Ok(listener.local_addr()?.port())
}
