//! Carries out a fault plan.

use std::time::{Duration, Instant};

use super::fleet::{ProgramFleet, WorkerKill};
use super::plan::{ChaosFault, FaultPlan, ServerOutage};
use super::scene::ChaosScene;
use crate::deployment::eventually;

/// The faults of a run, and the recoveries.
#[derive(Debug, Default)]
pub struct RunReport {
    /// The kills of workers.
    pub kills: Vec<WorkerKill>,
    /// Each outage, and how long after its end a token was exchanged again.
    pub recoveries: Vec<(ServerOutage, Duration)>,
}

/// A run.
pub struct RunDriver<'a> {
    scene: &'a ChaosScene,
    fleet: ProgramFleet<'a>,
    report: RunReport,
}

/// The fewest grants that are left when a fault comes.
const RESERVE: u32 = 400;
/// Without progress for this time, the run counts as stuck.
const STANDSTILL: Duration = Duration::from_secs(300);
/// How long the rest may take after the last fault.
const END: Duration = Duration::from_secs(600);
/// The polling interval of the provider's counters, which are in this process.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

impl<'a> RunDriver<'a> {
    /// A run with this fleet.
    pub fn new(scene: &'a ChaosScene, fleet: ProgramFleet<'a>) -> Self {
        Self { scene, fleet, report: RunReport::default() }
    }

    /// The programs.
    pub fn fleet(&mut self) -> &mut ProgramFleet<'a> {
        &mut self.fleet
    }

    /// Carries out the whole plan. Every fault comes while there is work.
    ///
    /// # Panics
    /// If the run is stuck.
    pub async fn carry_out(&mut self, plan: &FaultPlan) {
        let started = Instant::now();
        for (at, fault) in &plan.steps {
            self.wait_for_exchanges(*at).await;
            self.keep_busy().await;
            say(started, self.scene, &format!("{fault:?}"));
            match fault {
                ChaosFault::KillWorker => self.fleet.kill_worker().await,
                ChaosFault::KillProducer => self.fleet.kill_producer().await,
                ChaosFault::Outage(outage) => self.outage(outage).await,
            }
        }
        say(started, self.scene, "all faults are done");
    }

    /// Signs more users in if the remaining grants would not last until the next fault.
    pub async fn keep_busy(&self) {
        if self.scene.exchanges() + u64::from(RESERVE) > self.scene.grants() {
            self.scene.add_grants(RESERVE).await;
        }
    }

    /// Waits until this many tokens were exchanged.
    ///
    /// # Panics
    /// If there is no progress for long.
    pub async fn wait_for_exchanges(&self, wanted: u64) {
        let (mut last, mut at) = (self.scene.exchanges(), Instant::now());
        while last < wanted {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = self.scene.exchanges();
            if now > last {
                (last, at) = (now, Instant::now());
            }
            assert!(at.elapsed() < STANDSTILL, "no exchange after {last}");
        }
    }

    /// Makes a server unavailable for a time.
    ///
    /// # Panics
    /// If nothing is exchanged after that.
    pub async fn outage(&mut self, outage: &ServerOutage) {
        self.wait_for_orphans().await;
        self.scene.begin(outage).await;
        // The pauses are the fault itself.
        tokio::time::sleep(outage.away / 2).await;
        if outage.kills_worker {
            self.fleet.kill_worker().await;
        }
        tokio::time::sleep(outage.away / 2).await;
        self.scene.end(outage).await;
        let back = Instant::now();
        self.wait_for_exchanges(self.scene.exchanges() + 1).await;
        self.report.recoveries.push((*outage, back.elapsed()));
    }

    /// Waits until the work of killed workers was taken over: one outage right after another could
    /// outlast the provider's grace, and then no software could help.
    async fn wait_for_orphans(&self) {
        let documents = &self.scene.evergrant.collection;
        eventually("the jobs of dead workers are taken up", || async {
            documents.count_documents(self.fleet.orphans()).await.is_ok_and(|count| count == 0)
        })
        .await;
    }

    /// Waits until every grant is refreshed or reported, ends all programs, and returns the faults.
    ///
    /// # Panics
    /// If a grant is neither, or a program does not end cleanly.
    pub async fn finish(mut self) -> RunReport {
        let deadline = Instant::now() + END;
        while !self.scene.evergrant.is_finished().await {
            assert!(Instant::now() < deadline, "some grants are left");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.report.kills.clone_from(&self.fleet.kills);
        self.fleet.end().await;
        self.report
    }
}

impl RunReport {
    /// The most requests on the wire at the kills of workers.
    pub fn on_the_wire(&self) -> u64 {
        self.kills.iter().map(|kill| kill.on_the_wire).sum()
    }

    /// The longest time until a token was exchanged again.
    pub fn slowest_recovery(&self) -> Duration {
        self.recoveries.iter().map(|(_, after)| *after).max().unwrap_or_default()
    }
}

/// Progress for a person who watches: a run takes minutes.
#[allow(clippy::print_stdout, reason = "seen with --nocapture, and when the test fails")]
fn say(started: Instant, scene: &ChaosScene, what: &str) {
    let (seconds, exchanges) = (started.elapsed().as_secs(), scene.exchanges());
    println!("{seconds:4} s, {exchanges:5} exchanged: {what}");
}
