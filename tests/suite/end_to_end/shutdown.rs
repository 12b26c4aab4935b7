//! Programs that are stopped, and stopped again.

use std::time::Duration;

use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::deployment::{TestDeployment, eventually};
use evergrant_testkit::{mongodb, rabbitmq};

/// A provider with this latency, and due grants.
async fn imported(latency_ms: u64, grants: u32) -> TestDeployment {
    let settings = SimulatorSettings { latency_ms, ..SimulatorSettings::default() };
    let config = SimulatorConfig { settings, ..SimulatorConfig::default() };
    let mut evergrant =
        TestDeployment::new(&rabbitmq::V4.url().await, &mongodb::url().await, config).await;
    evergrant.set("PRODUCER__LEADER_LEASE", "5s");
    evergrant.set("PRODUCER__INTERVAL", "500ms");
    let file = evergrant.seed_file(SeedPlan { count: grants, ..SeedPlan::default() });
    let import = evergrant.evergrant(&["import", &file]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    evergrant
}

async fn exchanged(evergrant: &TestDeployment, wanted: u64) {
    eventually("grants are refreshed", || async {
        evergrant.simulator.stats().exchanges >= wanted
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stop_signal_ends_a_worker_at_once() {
    // The first signal waits for the provider, which is slow.
    let evergrant = imported(8_000, 50).await;
    let mut programs = evergrant.start_all(1);
    exchanged(&evergrant, 1).await;
    let mut worker = programs.pop().expect("a worker");
    worker.signal("TERM").await;
    eventually("it is shutting down", || async { worker.logged().contains("shutting down") }).await;
    assert!(worker.is_running(), "{}", worker.logged());
    worker.signal("TERM").await;
    let status = worker.wait(Duration::from_secs(3)).await;
    assert_eq!(status.code(), Some(143), "{}", worker.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_does_not_delay_a_workers_end() {
    let evergrant = imported(200, 200).await;
    let way = evergrant_testkit::fault_proxy::FaultProxy::to(&evergrant.variable("QUEUE__URL"));
    let own = [("QUEUE__URL", way.url()), ("WORKER__SHUTDOWN_GRACE", "10s")];
    let _producer = evergrant.start("evergrant-producer", &[]);
    let mut worker = evergrant.start_with("evergrant-worker", &[], &own);
    exchanged(&evergrant, 20).await;
    way.swallow();
    worker.signal("TERM").await;
    // Whether the exit counts as clean or not: it ends, and nothing is lost.
    worker.wait(Duration::from_secs(20)).await;
    let _other = evergrant.start("evergrant-worker", &[]);
    way.cut();
    eventually("all is refreshed", || evergrant.is_finished()).await;
    let check = evergrant.judge().await;
    assert_eq!((check.live, check.lost, check.reused), (200, 0, 0), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_stopped_in_mid_pass_ends_cleanly() {
    let evergrant = imported(10, 800).await;
    let mut producer =
        evergrant.start_with("evergrant-producer", &[], &[("PRODUCER__WINDOW", "10")]);
    eventually("it publishes", || async {
        let provider = evergrant_testkit::deployment::provider();
        evergrant.queue.depth(&provider).await.is_ok_and(|waiting| waiting >= 50)
    })
    .await;
    let status = producer.terminate().await;
    assert!(status.success(), "{status}: {}", producer.logged());
    let waiting = evergrant.queued().await;
    assert!(waiting < 800, "the pass was over: {waiting}");
    let _programs = evergrant.start_all(1);
    eventually("all is refreshed", || evergrant.is_finished()).await;
    let check = evergrant.judge().await;
    assert_eq!((check.live, check.lost, check.reused), (800, 0, 0), "{check:?}");
}
