//! `evergrant run`, one process and one file, killed repeatedly.

use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::deployment::eventually;
use evergrant_testkit::embedded::EmbeddedDeployment;

/// Within this grace no grant may be lost.
const GRACE_S: u64 = 60;

/// The provider's latency: a kill meets requests that are under way.
const LATENCY_MS: u64 = 300;

/// A run of `grants` that is killed this often, evenly spread. The limit makes each life, or the
/// whole run, long enough to send again what was on the wire: a takeover takes some seconds.
async fn kill_again_and_again(grants: u32, kills: u32, limit: &str) {
    let settings = SimulatorSettings {
        grace_s: GRACE_S,
        latency_ms: LATENCY_MS,
        ..SimulatorSettings::default()
    };
    let mut evergrant =
        EmbeddedDeployment::new(SimulatorConfig { settings, ..SimulatorConfig::default() }).await;
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", &format!("[\"{limit}\"]"));
    evergrant.import(SeedPlan { count: grants, ..SeedPlan::default() }).await;
    for kill in 1..=kills {
        let before = evergrant.refreshed().await;
        let share = grants as usize * kill as usize / (kills as usize + 1);
        let mut run = evergrant.start(&["run", "--workers", "2"]);
        eventually("some more are refreshed", || async {
            evergrant.refreshed().await >= share.max(before + 1)
        })
        .await;
        assert!(evergrant.unfinished().await > 0, "all was done before kill {kill}");
        run.kill().await;
    }
    let mut run = evergrant.start(&["run", "--workers", "2"]);
    eventually("all grants are refreshed", || async { evergrant.unfinished().await == 0 }).await;
    assert!(run.terminate().await.success(), "{}", run.logged());
    let report = evergrant.judge().await;
    println!("{kills} kills: {report:?}");
    let stats = evergrant.simulator.stats();
    println!("exchanges {} (again within the grace {})", stats.exchanges, stats.double_exchanges);
    assert_eq!((report.live, report.lost, report.reused), (u64::from(grants), 0, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_of_a_run_lose_no_grant() {
    kill_again_and_again(300, 20, "10/s").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --chaos"]
async fn a_hundred_kills_lose_none_of_2000_grants() {
    kill_again_and_again(2_000, 100, "6/s").await;
}
