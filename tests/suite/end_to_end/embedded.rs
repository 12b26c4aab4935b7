//! Everything in one process and one file: the demo, and `evergrant run`, which is stopped and
//! started beside another one.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evergrant_domain::{DocumentId, SealedAnswer};
use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::deployment::eventually;
use evergrant_testkit::embedded::EmbeddedDeployment;
use evergrant_testkit::program;
use serde_json::Value;

fn slow(grace_s: u64) -> SimulatorConfig {
    let settings = SimulatorSettings {
        grace_s,
        latency_ms: 50,
        latency_spread_ms: 30,
        ..SimulatorSettings::default()
    };
    SimulatorConfig { settings, ..SimulatorConfig::default() }
}

async fn imported(config: SimulatorConfig, count: u32) -> EmbeddedDeployment {
    let mut evergrant = EmbeddedDeployment::new(config).await;
    evergrant.set("WORKER__LEASE", "16s");
    evergrant.set("WORKER__PERMIT_WAIT", "1s");
    evergrant.import(SeedPlan { count, ..SeedPlan::default() }).await;
    evergrant
}

async fn demo(args: &[&str]) -> Value {
    let demo = program::run("evergrant", &[&["demo", "--json"], args].concat(), &[]).await;
    let (said, errors) =
        (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert!(demo.status.success(), "{}: {said}{errors}", demo.status);
    assert!(!said.contains("evgsim_") && !errors.contains("evgsim_"), "a token was written");
    serde_json::from_str(&said).expect("one JSON document")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_loses_nothing_and_redrives_letters() {
    let report = demo(&["--users", "400", "--workers", "2", "--seed", "7"]).await;
    assert_eq!(report["nothing_lost"], true, "{report}");
    let ledger = &report["ledger"];
    let count = |of: &Value| of.as_u64().expect("a count");
    let (live, dead, malformed) =
        (count(&ledger["live"]), count(&ledger["dead"]), count(&ledger["malformed"]));
    assert_eq!(live + dead + malformed, 400, "{report}");
    assert!(count(&report["most_in_1s"]) <= count(&report["limit_per_s"]), "{report}");
    assert!(count(&report["retried"]) > 0 && count(&report["throttled"]) > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_loses_nothing_with_many_faults() {
    let report = demo(&["--users", "300", "--faults", "heavy"]).await;
    assert_eq!(report["nothing_lost"], true, "{report}");
    assert!(report["redriven"].as_u64() > Some(0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_demo_with_everything_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("demo.log");
    let args = ["demo", "--users", "5000", "--faults", "none"];
    let mut demo = program::TestProgram::start("evergrant", &args, &[], log);
    eventually("some are refreshed", || async {
        let logged = demo.logged();
        let refreshed = logged.lines().filter_map(|line| line.split("refreshed ").nth(1));
        let refreshed = refreshed.filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok());
        refreshed.max().unwrap_or(0) > 100
    })
    .await;
    demo.signal("INT").await;
    let status = demo.wait(Duration::from_secs(60)).await;
    let said = demo.logged();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("Interrupted") && said.contains("nothing is lost"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_settles_sent_requests_and_a_run_continues() {
    // Without a grace, whatever was sent must be written before the process ends. The limit keeps
    // the first run from ending by itself, and the latency keeps many requests under way.
    let settings =
        SimulatorSettings { grace_s: 0, latency_ms: 500, ..SimulatorSettings::default() };
    let mut evergrant =
        imported(SimulatorConfig { settings, ..SimulatorConfig::default() }, 2_000).await;
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", r#"["100/s"]"#);
    let mut run = evergrant.start(&["run"]);
    eventually("some are refreshed", || async { evergrant.refreshed().await >= 200 }).await;
    run.signal("INT").await;
    let status = run.wait(Duration::from_secs(60)).await;
    assert_eq!(status.code(), Some(130), "{}", run.logged());
    assert!(evergrant.unfinished().await > 0, "it had finished before");
    assert!(evergrant.grants().await.iter().all(|grant| grant.leased_until.is_none()));
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", "[]");
    let mut run = evergrant.start(&["run"]);
    eventually("the rest is refreshed", || async { evergrant.unfinished().await == 0 }).await;
    assert!(run.terminate().await.success(), "{}", run.logged());
    let report = evergrant.judge().await;
    assert_eq!((report.live, report.lost, report.reused), (2_000, 0, 0), "{report:?}");
    assert_eq!(report.double_exchanges, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_takes_over_from_a_killed_one() {
    let evergrant = imported(slow(60), 1_000).await;
    let mut first = evergrant.start(&["run"]);
    let _second = evergrant.start(&["run"]);
    eventually("some are refreshed", || async { evergrant.refreshed().await >= 300 }).await;
    first.kill().await;
    eventually("all grants are refreshed", || async { evergrant.unfinished().await == 0 }).await;
    let report = evergrant.judge().await;
    assert_eq!((report.live, report.lost, report.reused), (1_000, 0, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_runs_answers_are_written_by_the_next() {
    let evergrant = imported(slow(0), 600).await;
    let evergrant = killed_with_answers(evergrant).await;
    let mut run = evergrant.start(&["run"]);
    eventually("all grants are refreshed", || async { evergrant.unfinished().await == 0 }).await;
    assert!(run.terminate().await.success(), "{}", run.logged());
    let report = evergrant.judge().await;
    assert_eq!((report.live, report.lost, report.reused), (600, 0, 0), "{report:?}");
}

const KEYS: [&str; 2] = [
    "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_a_missing_key_wait_until_it_returns() {
    let mut evergrant = imported(slow(0), 300).await;
    let journal = evergrant.folder.path().join("evergrant.db-rescue").display().to_string();
    evergrant.set("RESCUE__JOURNAL", &journal);
    evergrant.set("RESCUE__KEY", KEYS[0]);
    let mut evergrant = killed_with_answers(evergrant).await;
    let left = journalled(&evergrant);
    std::fs::create_dir(format!("{journal}/stray.journal")).unwrap();
    evergrant.set("RESCUE__KEY", KEYS[1]);
    let mut run = evergrant.start(&["run"]);
    let waiting = async || {
        let grants = evergrant.grants().await.into_iter();
        grants.filter(|grant| grant.waits_for_answer()).map(|grant| grant.id).collect()
    };
    eventually("all others are refreshed", || async { evergrant.unfinished().await == 0 }).await;
    let waits: HashSet<_> = waiting().await;
    assert!(!waits.is_empty() && waits.is_subset(&left), "{waits:?}");
    let id = waits.iter().next().unwrap().to_string();
    let refused = evergrant.evergrant(&["tokens", "refresh", &id, "--why", "a test"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("uncommitted_answer"), "{told}");
    assert!(run.terminate().await.success(), "{}", run.logged());
    evergrant.set("RESCUE__OLD_KEYS", &format!("[\"{}\"]", KEYS[0]));
    let mut run = evergrant.start(&["run"]);
    eventually("what waited is written", || async { evergrant.refreshed().await == 300 }).await;
    assert!(run.terminate().await.success(), "{}", run.logged());
    let report = evergrant.judge().await;
    assert_eq!((report.live, report.lost, report.reused), (300, 0, 0), "{report:?}");
}

/// Kills a run while it has unwritten answers.
async fn killed_with_answers(mut evergrant: EmbeddedDeployment) -> EmbeddedDeployment {
    // Slow enough that some are under way whenever the file is locked.
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", r#"["100/s"]"#);
    let mut killed = evergrant.start(&["run"]);
    eventually("some are refreshed", || async { evergrant.refreshed().await >= 100 }).await;
    // Nobody else can write to the file until this is dropped.
    let file = rusqlite::Connection::open(evergrant.folder.path().join("evergrant.db")).unwrap();
    file.busy_timeout(Duration::from_secs(10)).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = AtomicU64::new(0);
    eventually("every answer that came is in its document or in the journal", || async {
        let stats = evergrant.simulator.stats();
        let written = evergrant.grants().await.into_iter().filter(|grant| grant.generation > 0);
        let written: HashSet<_> = written.map(|grant| grant.id).collect();
        let kept = journalled(&evergrant);
        let all_kept = written.union(&kept).count() as u64 == stats.exchanges;
        // The same count twice: nothing is under way any more.
        let still = before.swap(stats.exchanges, Ordering::Relaxed) == stats.exchanges;
        still && stats.in_flight == 0 && all_kept && kept.difference(&written).count() > 0
    })
    .await;
    killed.kill().await;
    drop(file);
    evergrant
}

/// The documents whose answers are in journals beside the file.
fn journalled(evergrant: &EmbeddedDeployment) -> HashSet<DocumentId> {
    let mut ids = HashSet::new();
    for found in evergrant.folder.path().join("evergrant.db-rescue").read_dir().unwrap() {
        let path = found.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            let lines = std::fs::read(path).unwrap();
            let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            ids.extend(lines.map(|line| SealedAnswer::decode(line).unwrap().id));
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_says_what_to_do() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    for (setting, value, expected) in [
        ("STORE__URL", "postgres://x", "sqlite:"),
        ("QUEUE__URL", "sqlite:", "names no file"),
        ("STORE__URL", "sqlite:/nowhere/e.db", "/nowhere/e.db: its folder does not exist"),
        ("TELEMETRY__LISTEN", taken.as_str(), "telemetry.listen"),
    ] {
        let mut variables = evergrant.variables.clone();
        variables.push((format!("EVERGRANT_{setting}"), value.to_owned()));
        let run = program::run("evergrant", &["run"], &variables).await;
        let error = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{setting}={value}: {error}");
        assert!(error.contains(expected), "{setting}={value}: {error}");
    }
}
