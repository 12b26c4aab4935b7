//! Loss of one node of a cluster of three: the one that leads the work queue.

use std::time::Instant;

use evergrant_testkit::chaos::{ChaosScene, GrantVerdicts, ProgramFleet, ProviderPace, RunDriver};
use evergrant_testkit::cluster::ServerCluster;

use super::{BROKER, RECOVERY, WORKERS};

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_continue_after_the_leading_node_is_killed() {
    lose_the_leader(600, ProviderPace { latency_ms: 500, in_flight: 6 }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --chaos"]
async fn killing_the_leading_node_loses_none_of_5000_grants() {
    lose_the_leader(5_000, ProviderPace { latency_ms: 500, in_flight: 16 }).await;
}

async fn lose_the_leader(grants: u32, pace: ProviderPace) {
    let cluster = ServerCluster::start(BROKER).await;
    let scene = ChaosScene::on_cluster(&cluster.urls(), grants, 0, pace).await;
    let driver = RunDriver::new(&scene, ProgramFleet::start(&scene, 2, WORKERS, 1));
    let queue = format!("{}.refresh.simulator.0", scene.evergrant.variable("QUEUE__PREFIX"));

    driver.wait_for_exchanges(scene.grants() / 6).await;
    driver.keep_busy().await;
    let moved = Instant::now();
    let former = cluster.drain_leader_of(&queue).await;
    goes_on(&cluster, &queue, former, &scene, &driver, moved).await;
    cluster.revive(former).await;

    driver.wait_for_exchanges(scene.grants() / 3).await;
    driver.keep_busy().await;
    let killed = Instant::now();
    let former = cluster.kill_leader_of(&queue).await;
    goes_on(&cluster, &queue, former, &scene, &driver, killed).await;
    cluster.node(former).start().await;

    driver.finish().await;
    // No process of ours was killed: even without a grace, nothing is lost.
    let verdicts = GrantVerdicts::from_scene(&scene).await;
    let check = &verdicts.check;
    assert_eq!((check.lost, check.reused, check.dead), (0, 0, 0), "{check:?}");
    assert_eq!((check.live, verdicts.refreshed), (scene.grants(), scene.grants()), "{check:?}");
}

/// Another node leads the queue, and refreshes continue, unless everything is done by then.
async fn goes_on(
    cluster: &ServerCluster,
    queue: &str,
    former: usize,
    scene: &ChaosScene,
    driver: &RunDriver<'_>,
    since: Instant,
) {
    let leader = cluster.new_leader_of(queue, former).await;
    driver.keep_busy().await;
    let (elected, before) = (Instant::now(), scene.exchanges());
    driver.wait_for_exchanges(before + 1).await;
    let (lost, found) = (since.elapsed(), elected.elapsed());
    println!("node {former} led no longer, node {leader} leads: refreshes go on after {lost:?}");
    assert!(found <= RECOVERY * 4, "{found:?} after there was a leader");
}
