//! The broker is reachable but uncooperative: it cancels, closes, blocks and moves.

mod alarm;
mod closed;
mod deleted;

use ::mongodb::bson::doc;
use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::dedicated::DedicatedServer;
use evergrant_testkit::deployment::{TestDeployment, eventually};
use evergrant_testkit::mongodb;

/// The images of brokers. `conformance` tests the adapter on both; here each test uses one.
const V3: &str = "EVERGRANT_TEST_RABBITMQ_3_IMAGE";
const V4: &str = "EVERGRANT_TEST_RABBITMQ_4_IMAGE";

/// A provider with a latency of 200 ms and without a grace.
fn provider() -> SimulatorConfig {
    let settings = SimulatorSettings { latency_ms: 200, ..SimulatorSettings::default() };
    SimulatorConfig { settings, ..SimulatorConfig::default() }
}

/// A dedicated broker, and this many due grants.
async fn imported(image: &str, grants: u32) -> (DedicatedServer, TestDeployment) {
    let broker = DedicatedServer::broker(image).await;
    let mut evergrant = TestDeployment::new(&broker.url(), &mongodb::url().await, provider()).await;
    for (name, value) in [
        ("WORKER__EXCHANGES_IN_FLIGHT", "8"),
        ("PRODUCER__INTERVAL", "500ms"),
        ("PRODUCER__MAX_QUEUED", "100"),
        ("PRODUCER__WINDOW", "50"),
        ("QUEUE__CONFIRM_TIMEOUT", "5s"),
        ("QUEUE__RETRY_LADDER", r#"["200ms", "1s", "5s"]"#),
    ] {
        evergrant.set(name, value);
    }
    let file = evergrant.seed_file(SeedPlan { count: grants, ..SeedPlan::default() });
    let import = evergrant.evergrant(&["import", &file]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    (broker, evergrant)
}

async fn exchanged(evergrant: &TestDeployment, wanted: u64) {
    eventually("grants are refreshed", || async {
        evergrant.simulator.stats().exchanges >= wanted
    })
    .await;
}

/// As if `producer.queued_for` were over, after which a lost job is published again.
async fn forget_what_is_queued(evergrant: &TestDeployment) {
    let forget = doc! { "$unset": { "evergrant.queued_until": "" } };
    evergrant.collection.update_many(doc! {}, forget).await.unwrap();
}

/// All grants are refreshed, each by one exchange.
async fn assert_all_are_refreshed(evergrant: &TestDeployment) {
    eventually("all grants are refreshed", || evergrant.is_finished()).await;
    let check = evergrant.judge().await;
    assert_eq!((check.live, check.lost, check.reused), (check.total, 0, 0), "{check:?}");
    assert_eq!(evergrant.simulator.stats().exchanges, check.total);
}
