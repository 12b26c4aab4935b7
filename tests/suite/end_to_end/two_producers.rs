//! Two producers, one of which leads.

use std::time::{Duration, Instant};

use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::deployment::{TestDeployment, eventually};
use evergrant_testkit::program::TestProgram;
use evergrant_testkit::{mongodb, rabbitmq};

const LEADER_LEASE: Duration = Duration::from_secs(5);
/// The duration of a pass on a busy machine.
const PASS: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_within_two_leases() {
    let settings = SimulatorSettings { latency_ms: 50, ..SimulatorSettings::default() };
    let config = SimulatorConfig { settings, ..SimulatorConfig::default() };
    let mut evergrant =
        TestDeployment::new(&rabbitmq::V4.url().await, &mongodb::url().await, config).await;
    evergrant.set("PRODUCER__LEADER_LEASE", "5s");
    evergrant.set("PRODUCER__INTERVAL", "500ms");
    let mut producers = Vec::from([0, 1].map(|_| evergrant.start("evergrant-producer", &[])));
    let _worker = evergrant.start("evergrant-worker", &[]);
    refreshes(&evergrant, "before", 100).await;

    let leader = leader(&producers).await;
    producers.swap_remove(leader).kill().await;
    let died = Instant::now();
    refreshes(&evergrant, "after", 100).await;
    println!("the other producer had its grants refreshed {:?} after", died.elapsed());
    assert!(died.elapsed() <= 2 * LEADER_LEASE + PASS, "{:?}", died.elapsed());
    let check = evergrant.judge().await;
    assert_eq!((check.live, check.lost, check.reused), (200, 0, 0), "{check:?}");
    assert_eq!(evergrant.simulator.stats().exchanges, 200);
}

/// Users sign in, and all are refreshed.
async fn refreshes(evergrant: &TestDeployment, name: &str, count: u32) {
    let file = evergrant.seed_file(SeedPlan { count, ..SeedPlan::default() });
    let import = evergrant.evergrant(&["import", &file]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    eventually(name, || evergrant.is_finished()).await;
}

/// The leading producer.
async fn leader(producers: &[TestProgram]) -> usize {
    let leads = |producer: &TestProgram| producer.logged().contains("this producer leads");
    producers.iter().position(leads).expect("one of them leads")
}
