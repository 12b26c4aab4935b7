//! A seeded, deterministic simulation of the real producer and the real worker.
//!
//! `evergrant_producer::run` and `evergrant_worker::run` run over the memory adapters, on one
//! thread and on paused time, with a provider whose ledger judges. All randomness comes from one
//! seed, so a failing seed fails again in exactly the same way.
//!
//! * `plan`: the world of a seed: its size, and the rates of faults.
//! * `world`: the shared state: time, randomness, the store, the broker, the provider, the trace.
//! * `process`: a process that can crash. All its calls go through it, so after a crash none of
//!   them returns, whether it had taken effect or not. That simulates a crash between any two
//!   awaits.
//! * `store`, `call_latency`, `queue`, `intake`, `endpoint`, `budget`, `journal`: a process's
//!   ports, where calls fail, take long, or take effect and report a failure.
//! * `supervisor`: starts and restarts processes. `storm`: a provider that gives all requests the
//!   same answer. `people`: users who sign in again, a provider that revokes, someone who edits
//!   documents, servers that become unavailable.
//! * `operators`: operators who pause, forget and redrive grants while workers run. `copies`:
//!   operators who import old copies of documents, and discard dead letters.
//! * `poison`: a few documents with a permanent problem, which must not affect others.
//! * `tokens`, `reuse`, `settled`, `written`, `bounds`, `heed`, `judge`: the invariants.
//! * `sabotage`, `broken_store`: builds that are broken on purpose, to check that the invariants
//!   notice.

mod bounds;
mod broken_store;
mod budget;
mod call_latency;
mod copies;
mod counts;
mod endpoint;
mod excuse;
mod fault;
mod figures;
mod heed;
mod intake;
mod journal;
mod judge;
mod kinds;
mod operators;
mod people;
mod plan;
mod poison;
mod process;
mod queue;
mod reuse;
mod sabotage;
mod settled;
mod store;
mod storm;
mod supervisor;
mod sweep;
mod tokens;
mod world;
mod written;

use std::sync::Arc;
use std::time::Duration;

pub use excuse::Excuse;
pub use fault::{EventTally, Fault};
pub use figures::Figures;
pub use sabotage::Sabotage;
pub use sweep::{SeedSweep, SweepSums};

use process::SLOWEST_CALL;
use world::World;

/// How to run a seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeedOptions {
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
    /// Whether to record every event.
    pub trace: bool,
}

/// The result of a seed.
#[derive(Debug, Clone)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// The violated invariant, and how.
    pub violation: Option<String>,
    /// What happened, in numbers.
    pub figures: Figures,
    /// How often each [`Fault`] occurred, and each of the provider's faults by its own name.
    pub reached: EventTally,
    /// How often each [`Excuse`] was used.
    pub excuses: EventTally,
    /// Every event, if recorded.
    pub trace: Vec<String>,
}

/// The longest time that the world may take to settle during the calm.
const CALM_LIMIT: Duration = Duration::from_secs(1_200);

const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Runs one seed to its end, or to the first violation.
///
/// # Panics
/// If no runtime can be created.
pub fn run(seed: u64, options: SeedOptions) -> SeedResult {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // The waits of backoffs are drawn from the thread's generator.
    fastrand::seed(seed);
    let outcome = runtime.block_on(live(seed, options));
    drop(runtime);
    outcome
}

async fn live(seed: u64, options: SeedOptions) -> SeedResult {
    let world = World::new(seed, options);
    tokio::select! {
        biased;
        () = world.over.cancelled() => {}
        () = history(&world) => {}
    }
    world.end(seed)
}

/// Chaos, then calm, then judgement.
async fn history(world: &Arc<World>) {
    world.populate().await;
    supervisor::start_all(world);
    people::start_all(world);
    storm::begin_wrong(world);
    tokio::time::sleep(world.plan.chaos / 3).await;
    world.sign_in_first();
    tokio::time::sleep(world.plan.chaos - world.plan.chaos / 3).await;
    world.check_others();
    world.become_calm();
    let deadline = tokio::time::Instant::now() + CALM_LIMIT;
    // Until the slowest earlier call is done.
    tokio::time::sleep(SLOWEST_CALL).await;
    people::look_after(world).await;
    while let Err(what) = judge::is_settled(world).await {
        if tokio::time::Instant::now() > deadline {
            return world.violate(format!("forgotten: {what}"));
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
        people::look_after(world).await;
    }
    judge::judge(world).await;
}
