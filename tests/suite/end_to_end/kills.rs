//! Processes that die, and processes that are stopped.

use ::mongodb::bson::doc;
use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::deployment::{TestDeployment, eventually};
use evergrant_testkit::{mongodb, rabbitmq};

fn slow(grace_s: u64) -> SimulatorConfig {
    let settings = SimulatorSettings {
        grace_s,
        latency_ms: 100,
        latency_spread_ms: 50,
        ..SimulatorSettings::default()
    };
    SimulatorConfig { settings, ..SimulatorConfig::default() }
}

async fn imported(config: SimulatorConfig, count: u32) -> TestDeployment {
    let (amqp_url, mongodb_url) = (rabbitmq::V4.url().await, mongodb::url().await);
    let mut evergrant = TestDeployment::new(&amqp_url, &mongodb_url, config).await;
    evergrant.set("WORKER__LEASE", "16s");
    evergrant.set("WORKER__PERMIT_WAIT", "1s");
    let file = evergrant.seed_file(SeedPlan { count, ..SeedPlan::default() });
    let import = evergrant.evergrant(&["import", &file]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    evergrant
}

async fn refreshed(evergrant: &TestDeployment) -> u64 {
    evergrant.count(doc! { "evergrant.generation": { "$gte": 1 } }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_run_loses_no_grant() {
    let evergrant = imported(slow(60), 1_500).await;
    let mut programs = evergrant.start_all(3);
    for so_far in [200, 700] {
        eventually("some are refreshed", || async { refreshed(&evergrant).await >= so_far }).await;
        programs.pop().expect("a worker").kill().await;
        programs.push(evergrant.start("evergrant-worker", &[]));
    }
    eventually("all grants are refreshed", || async { evergrant.unfinished().await == 0 }).await;
    let report = evergrant.judge().await;
    assert_eq!((report.live, report.lost, report.reused), (1_500, 0, 0), "{report:?}");
    assert!(evergrant.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_finishes_its_sent_requests() {
    let evergrant = imported(slow(0), 1_000).await;
    let mut programs = evergrant.start_all(2);
    eventually("some are refreshed", || async { refreshed(&evergrant).await >= 200 }).await;
    let mut worker = programs.pop().expect("a worker");
    let status = worker.terminate().await;
    assert!(status.success(), "{status}: {}", worker.logged());
    let held = doc! { "evergrant.lease.owner": { "$exists": true } };
    eventually("the other worker refreshes the rest", || async {
        evergrant.unfinished().await == 0 && evergrant.count(held.clone()).await == 0
    })
    .await;
    // Without a grace: what was sent was committed before the worker ended.
    let report = evergrant.judge().await;
    assert_eq!((report.live, report.lost, report.reused), (1_000, 0, 0), "{report:?}");
    assert_eq!(evergrant.simulator.stats().double_exchanges, 0);
}
