//! Producers and workers that are killed and replaced.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use mongodb::bson::{Document, doc};

use super::scene::ChaosScene;
use crate::deployment::unfinished;
use crate::program::TestProgram;

/// A kill of a worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerKill {
    /// When, in milliseconds since the Unix epoch: between these two.
    pub at_ms: (u64, u64),
    /// The most requests that were on the wire.
    pub on_the_wire: u64,
}

/// All programs of a run.
pub struct ProgramFleet<'a> {
    scene: &'a ChaosScene,
    random: Rng,
    producers: Vec<TestProgram>,
    workers: Vec<TestProgram>,
    /// The names of workers that were killed.
    dead: Vec<String>,
    /// The kills of workers so far.
    pub kills: Vec<WorkerKill>,
}

impl<'a> ProgramFleet<'a> {
    /// Starts this many producers and workers. Randomness comes from `seed`.
    pub fn start(scene: &'a ChaosScene, producers: usize, workers: usize, seed: u64) -> Self {
        let producers = (0..producers).map(|_| start_producer(scene)).collect();
        let workers = (0..workers).map(|_| start_worker(scene)).collect();
        let random = Rng::with_seed(seed);
        Self { scene, random, producers, workers, dead: Vec::new(), kills: Vec::new() }
    }

    /// Kills one of the workers and starts another.
    pub async fn kill_worker(&mut self) {
        self.lose_worker().await;
        self.add_worker();
    }

    /// Starts one more worker.
    pub fn add_worker(&mut self) {
        self.workers.push(start_worker(self.scene));
    }

    /// Kills one of the workers; returns its name, if it had one already.
    pub async fn lose_worker(&mut self) -> Option<String> {
        let victim = self.random.usize(0..self.workers.len());
        let mut victim = self.workers.swap_remove(victim);
        let before = (now_ms(), self.scene.evergrant.simulator.stats());
        victim.kill().await;
        let after = (now_ms(), self.scene.evergrant.simulator.stats());
        // Of all workers, including requests that began meanwhile: more than its own, but a worker
        // cannot have more under way than its limit.
        let all = before.1.in_flight + after.1.requests - before.1.requests;
        let on_the_wire = all.min(self.scene.pace.in_flight);
        self.kills.push(WorkerKill { at_ms: (before.0, after.0), on_the_wire });
        let name = worker_name(&victim.logged());
        self.dead.extend(name.clone());
        name
    }

    /// Kills one of the producers and starts another.
    pub async fn kill_producer(&mut self) {
        let victim = self.random.usize(0..self.producers.len());
        self.producers.swap_remove(victim).kill().await;
        self.producers.push(start_producer(self.scene));
    }

    /// Documents that a dead worker has leased and that are still to be refreshed. A refreshed one
    /// may keep the lease of a worker that died over a duplicate; that lease runs out.
    pub fn orphans(&self) -> Document {
        let names = self.dead.iter().map(|name| format!("^{name}/"));
        // A pattern that matches nothing if no worker has died: an empty one would match all.
        let pattern = names.collect::<Vec<_>>().join("|");
        let pattern = if pattern.is_empty() { "^$".to_owned() } else { pattern };
        let held = doc! { "evergrant.lease.owner": { "$regex": pattern } };
        doc! { "$and": [unfinished(), held] }
    }

    /// Stops all programs, and waits for their end.
    ///
    /// # Panics
    /// If one has ended before, or does not end cleanly.
    pub async fn end(mut self) {
        for program in self.producers.iter_mut().chain(&mut self.workers) {
            let status = program.terminate().await;
            assert!(status.success(), "{status}: {}", program.logged());
        }
    }
}

fn start_producer(scene: &ChaosScene) -> TestProgram {
    scene.evergrant.start("evergrant-producer", &[])
}

fn start_worker(scene: &ChaosScene) -> TestProgram {
    scene.evergrant.start_with("evergrant-worker", &[], &scene.ways())
}

/// A worker's name in its leases.
fn worker_name(log: &str) -> Option<String> {
    let after = log.split_once("started worker=")?.1;
    let name = after.split_whitespace().next()?;
    Some(name.trim_matches('"').to_owned())
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since_epoch.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_name_is_in_its_log_once_it_has_started() {
        let log = "… INFO evergrant_worker: started worker=\"host-1a2b3c4d\" providers=1\nmore";
        assert_eq!(worker_name(log).as_deref(), Some("host-1a2b3c4d"));
        assert_eq!(worker_name("waiting for the token store"), None);
    }
}
