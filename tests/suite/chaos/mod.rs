//! Chaos: everything is killed, paused and disconnected, and Evergrant loses no grant.
//!
//! `tests/run` runs `quick` and its neighbours; `tests/run --chaos` the full runs, which are in
//! `full` and, for the embedded edition, in `one_file`.

mod cluster;
mod full;
mod one_file;
mod quick;
mod takeover;

use std::collections::HashSet;
use std::time::Duration;

use evergrant_testkit::chaos::{
    ChaosScene, FaultCounts, FaultPlan, GrantVerdicts, ProgramFleet, ProviderPace, RunDriver,
    RunReport,
};

/// The image of a dedicated broker.
const BROKER: &str = "EVERGRANT_TEST_RABBITMQ_4_IMAGE";

/// How long after an outage refreshes may take to continue.
const RECOVERY: Duration = Duration::from_secs(5);

/// The workers in every run.
const WORKERS: usize = 4;

/// A run, and the fates of its grants.
struct Run {
    scene: ChaosScene,
    plan: FaultPlan,
    report: RunReport,
    verdicts: GrantVerdicts,
}

async fn run(counts: &FaultCounts, grants: u32, grace_s: u64, pace: ProviderPace) -> Run {
    let scene = ChaosScene::set_up(BROKER, grants, grace_s, pace).await;
    let plan = FaultPlan::draw(counts, u64::from(grants));
    println!("EVERGRANT_TEST_SEED={}", plan.seed);
    let fleet = ProgramFleet::start(&scene, 2, WORKERS, plan.seed);
    let mut driver = RunDriver::new(&scene, fleet);
    driver.carry_out(&plan).await;
    let report = driver.finish().await;
    let verdicts = GrantVerdicts::from_scene(&scene).await;
    let run = Run { scene, plan, report, verdicts };
    run.print();
    run
}

impl Run {
    fn print(&self) {
        let (check, stats) = (&self.verdicts.check, self.scene.evergrant.simulator.stats());
        println!(
            "grants {} refreshed {} live {} lost {} reused {}; exchanges {} (again within a grace {}), clients gone {}; \
             workers killed {}, requests on the wire then at most {}",
            check.total,
            self.verdicts.refreshed,
            check.live,
            check.lost,
            check.reused,
            stats.exchanges,
            stats.double_exchanges,
            stats.client_gone,
            self.report.kills.len(),
            self.report.on_the_wire(),
        );
        for (outage, after) in &self.report.recoveries {
            println!("{:?} {:?}: again after {after:?}", outage.target, outage.how);
        }
    }

    /// With the provider's grace, nothing is lost.
    fn assert_nothing_is_lost(&self) {
        let (check, seed) = (&self.verdicts.check, self.plan.seed);
        let stories = || self.verdicts.stories(&self.scene);
        assert_eq!((check.lost, check.reused), (0, 0), "seed {seed}: {check:?}\n{}", stories());
        assert_eq!((check.live, check.live_in_grace), (check.total, 0), "seed {seed}: {check:?}");
        assert_eq!(check.live_given_up, 0, "seed {seed}: {check:?}");
        assert_eq!(
            (check.total, self.verdicts.refreshed),
            (self.scene.grants(), self.scene.grants())
        );
    }

    /// Without a grace, only requests on the wire at the kill of a worker are lost, and that is
    /// reported.
    async fn assert_only_the_wire_was_lost(&self) {
        let (check, seed) = (&self.verdicts.check, self.plan.seed);
        let unexcused = self.verdicts.unexcused(&self.report, &self.scene);
        assert!(unexcused.is_empty(), "seed {seed}: no kill explains {unexcused:?}");
        assert!(check.lost <= self.report.on_the_wire(), "seed {seed}: {check:?}");
        let handed_over = self.verdicts.handed_over(&self.report, &self.scene);
        println!(
            "of {} lost, {} were handed over in the last moment",
            check.lost,
            handed_over.len()
        );
        // In a tenth of a second, a worker gets less than one answer.
        assert!(handed_over.len() <= self.report.kills.len(), "seed {seed}: {handed_over:?}");
        let silent = self.verdicts.silent();
        assert!(silent.is_empty(), "seed {seed}: lost in silence: {silent:?}");
        assert_eq!(check.live + check.lost, self.scene.grants(), "seed {seed}: {check:?}");
        assert_eq!((check.live_given_up, check.dead_unreported), (0, 0), "seed {seed}: {check:?}");
        assert_eq!(self.verdicts.refreshed, check.live, "seed {seed}: {check:?}");
        let letters = self.scene.evergrant.dead_letters().await;
        assert!(letters.iter().all(|letter| letter.reason.as_str() == "lost_response"));
        // A redelivered job publishes its letter again.
        let told: HashSet<_> = letters.iter().filter_map(|letter| letter.id.as_ref()).collect();
        assert_eq!(told.len() as u64, check.lost, "seed {seed}");
    }

    fn assert_it_recovered_within(&self, limit: Duration) {
        let (slowest, seed) = (self.report.slowest_recovery(), self.plan.seed);
        assert!(slowest <= limit, "seed {seed}: {:?}", self.report.recoveries);
    }
}
