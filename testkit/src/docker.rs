//! Docker's command line, for what the containers library lacks: killing, restarting with the same
//! port, disconnecting.

use std::ops::Range;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Longer than any command takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Below the ports that the system assigns: no other process takes one while its server is down,
/// and a client that tries to reach it cannot connect to itself.
const PORTS: Range<u16> = 20_000..30_000;

/// Runs a Docker command, and returns its output.
///
/// # Panics
/// If it fails.
pub async fn docker(args: &[&str]) -> String {
    try_docker(args).await.unwrap_or_else(|error| panic!("docker {}: {error}", args.join(" ")))
}

/// Like [`docker`], with the standard error output if it fails.
///
/// # Errors
/// If it fails.
///
/// # Panics
/// If there is no Docker, or it does not answer.
pub async fn try_docker(args: &[&str]) -> Result<String, String> {
    let mut command = Command::new("docker");
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("docker {}: no end", args.join(" ")));
    let output = output.unwrap_or_else(|error| panic!("run docker: {error}"));
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Pauses a container. The system may be too busy at the first try.
///
/// # Panics
/// If it is not running, or cannot be paused.
pub async fn pause(container: &str) {
    const TRIES: usize = 5;
    for _ in 1..TRIES {
        match try_docker(&["pause", container]).await {
            Err(error) if error.contains("unable to freeze") => {}
            Err(error) => panic!("docker pause {container}: {error}"),
            Ok(_) => return,
        }
    }
    docker(&["pause", container]).await;
}

/// A name for a container or a network of this test run, by which `tests/run` removes it.
pub fn name_of(what: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{what}-{}", session(), &random[..8])
}

/// The id of this test run.
pub fn session() -> String {
    std::env::var("EVERGRANT_TEST_SESSION").unwrap_or("evergrant-test-manual".to_owned())
}

/// The image in a variable.
///
/// # Panics
/// If it is not set.
pub fn image(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run tests/run, which prepares the images")
    })
}

/// A port of this machine that is free, and stays free while its server is down.
///
/// # Panics
/// If none is found.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let drawn = std::iter::repeat_with(|| fastrand::u16(PORTS));
    drawn.take(100).find(is_free).expect("a free port")
}

/// Removes containers and networks immediately, for the end of a test.
pub(crate) fn remove(containers: &[&str], networks: &[&str]) {
    let run = |args: &[&str], names: &[&str]| {
        let all = [args, names].concat();
        // `tests/run` removes the rest.
        let _ = std::process::Command::new("docker").args(all).output();
    };
    if !containers.is_empty() {
        run(&["rm", "--force", "--volumes"], containers);
    }
    if !networks.is_empty() {
        run(&["network", "rm"], networks);
    }
}
