//! The work of a dead worker.

use std::time::{Duration, Instant};

use evergrant_testkit::chaos::{
    ChaosScene, GrantVerdicts, LEASE, OutageTarget, ProgramFleet, ProviderPace, RunDriver,
    RunReport,
};
use evergrant_testkit::deployment::eventually;

use super::BROKER;

const PACE: ProviderPace = ProviderPace { latency_ms: 1_000, in_flight: 6 };

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_jobs_are_taken_over() {
    let scene = ChaosScene::set_up(BROKER, 600, 60, PACE).await;
    let mut driver = RunDriver::new(&scene, ProgramFleet::start(&scene, 1, 3, 1));
    driver.wait_for_exchanges(100).await;
    let name = driver.fleet().lose_worker().await.expect("it has started");
    let died = Instant::now();
    let orphans = driver.fleet().orphans();
    let held = scene.evergrant.count(orphans.clone()).await;
    assert!(held > 0, "{name} held nothing");
    eventually("its jobs are taken up", || async {
        scene.evergrant.count(orphans.clone()).await == 0
    })
    .await;
    let took = died.elapsed();
    println!("{held} jobs of a dead worker were taken up after {took:?}; its lease was {LEASE:?}");
    driver.finish().await;
    let check = GrantVerdicts::from_scene(&scene).await.check;
    assert_eq!((check.live, check.lost, check.reused), (600, 0, 0), "{check:?}");
}

/// Without a grace: answers that could not be written are in the dead workers' journals.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_unwritten_answers_are_written() {
    let scene = ChaosScene::set_up(BROKER, 300, 0, PACE).await;
    kill_while_the_database_is_away(&scene).await;
    let verdicts = GrantVerdicts::from_scene(&scene).await;
    assert_eq!((verdicts.check.lost, verdicts.refreshed), (0, 300), "{:?}", verdicts.lost);
}

/// The verdict is meaningful: it detects the missing journal.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_the_verdict_finds_unexplained_losses() {
    let mut scene = ChaosScene::set_up(BROKER, 300, 0, PACE).await;
    scene.evergrant.unset("RESCUE__JOURNAL");
    let report = kill_while_the_database_is_away(&scene).await;
    let verdicts = GrantVerdicts::from_scene(&scene).await;
    let unexcused = verdicts.unexcused(&report, &scene).len();
    println!("{} lost, {unexcused} of them without an excuse", verdicts.check.lost);
    assert!(unexcused > 0, "{:?}", verdicts.lost);
}

/// Both workers are killed while the database is unavailable, with unwritten answers.
async fn kill_while_the_database_is_away(scene: &ChaosScene) -> RunReport {
    let mut driver = RunDriver::new(scene, ProgramFleet::start(scene, 1, 2, 2));
    driver.wait_for_exchanges(60).await;
    scene.server(OutageTarget::Database).pause().await;
    all_are_answered(scene).await;
    driver.fleet().kill_worker().await;
    driver.fleet().kill_worker().await;
    scene.server(OutageTarget::Database).unpause().await;
    driver.finish().await
}

/// As if their machine had died: the journal is gone with the workers, and the answers are already
/// in the rescue queue.
#[tokio::test(flavor = "multi_thread")]
async fn answers_reach_the_rescue_queue_before_their_machine_dies() {
    let scene = ChaosScene::set_up(BROKER, 300, 0, PACE).await;
    let mut driver = RunDriver::new(&scene, ProgramFleet::start(&scene, 1, 2, 3));
    driver.wait_for_exchanges(60).await;
    scene.server(OutageTarget::Database).pause().await;
    all_are_answered(&scene).await;
    // The pause is the fault: longer than `rescue.after`.
    tokio::time::sleep(Duration::from_secs(6)).await;
    driver.fleet().lose_worker().await;
    driver.fleet().lose_worker().await;
    let journal = scene.evergrant.folder.path().join("journal");
    let _ = std::fs::remove_dir_all(journal);
    scene.server(OutageTarget::Database).unpause().await;
    driver.fleet().add_worker();
    driver.fleet().add_worker();
    driver.finish().await;
    let verdicts = GrantVerdicts::from_scene(&scene).await;
    assert_eq!((verdicts.check.lost, verdicts.refreshed), (0, 300), "{:?}", verdicts.lost);
}

/// Waits until nothing is on the wire. It stays so while nothing can be claimed.
async fn all_are_answered(scene: &ChaosScene) {
    eventually("every request is answered", || async {
        let requests = scene.evergrant.simulator.stats().requests;
        tokio::time::sleep(scene.pace.longest_request()).await;
        let stats = scene.evergrant.simulator.stats();
        stats.in_flight == 0 && stats.requests == requests
    })
    .await;
}
