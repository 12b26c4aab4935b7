//! The project's programs, as separate processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

/// The path of a program that was built with these tests.
///
/// # Panics
/// If it does not exist; the message says how to build it.
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test program");
    // Tests are in `deps`, beside the programs; programs of this crate are among the programs.
    let is_deps = |folder: &&Path| folder.ends_with("deps");
    let folder = test.parent().expect("a folder");
    let folder = Some(folder).filter(is_deps).and_then(Path::parent).unwrap_or(folder);
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is missing: run tests/run, or cargo build --workspace --bins first \
         (with --release if this is a release build)",
        program.display()
    );
    program
}

/// A running program. It is killed when this is dropped.
pub struct TestProgram {
    child: Child,
    /// The file with its output.
    pub log: PathBuf,
}

impl TestProgram {
    /// Starts a program with the given environment, without this process's settings.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(name: &str, args: &[&str], variables: &[(String, String)], log: PathBuf) -> Self {
        let file = File::create(&log).expect("create a log file");
        let child = command(name, args, variables)
            .stdout(file.try_clone().expect("share the log file"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { child, log }
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it was waited for.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the program was waited for")
    }

    /// Kills it, like a power failure.
    ///
    /// # Panics
    /// If it has ended already.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("kill the program");
    }

    /// Stops it (SIGTERM), and waits for its end.
    ///
    /// # Panics
    /// If it has ended before, or does not end within a minute.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM").await;
        self.wait(Duration::from_secs(60)).await
    }

    /// Sends a signal by its name for `kill`.
    ///
    /// # Panics
    /// If it has ended before.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("the program ended by itself").to_string();
        let flag = format!("-{name}");
        let sent = Command::new("kill").args([&flag, &id]).status().await.expect("run kill");
        assert!(sent.success());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within `limit`; the message contains its log.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => status.expect("wait for the program"),
            Err(_) => panic!("still running after {limit:?}:\n{}", self.logged()),
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has written so far.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Runs a program to its end.
///
/// # Panics
/// If it does not start.
pub async fn run(name: &str, args: &[&str], variables: &[(String, String)]) -> Output {
    command(name, args, variables)
        .output()
        .await
        .unwrap_or_else(|error| panic!("start {name}: {error}"))
}

fn command(name: &str, args: &[&str], variables: &[(String, String)]) -> Command {
    let mut command = Command::new(path(name));
    for (inherited, _) in std::env::vars().filter(|(name, _)| name.starts_with("EVERGRANT_")) {
        command.env_remove(inherited);
    }
    command
        .args(args)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
