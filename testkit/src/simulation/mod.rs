//! A seeded simulation of the real producer and the real worker.
//!
//! `evergrant_producer::run` and `evergrant_worker::run` run over the memory adapters, on one thread
//! and on paused time, beside a provider whose ledger judges. Everything that is left to chance comes
//! from one seed, so a seed that fails fails again, to the letter.
//!
//! * `plan`: what a seed makes of the world: how much of everything, and how often what goes wrong.
//! * `world`: what everybody shares: time, chance, the store, the broker, the provider, the trace.
//! * `process`: a process that can crash. All that it asks of the world goes through it, so after a
//!   crash no call of its returns any more: not the one that had taken effect, nor the one that
//!   had not. That is a crash between any two awaits, as far as the world can tell.
//! * `store`, `way`, `queue`, `intake`, `endpoint`, `budget`, `journal`: a process's ports, where calls fail,
//!   take long, or take effect and say that they failed.
//! * `supervisor`: starts processes, and starts them again. `storm`: a provider that answers everybody
//!   alike. `people`: users who sign in again, a
//!   provider that revokes, someone who edits documents, servers that are away.
//! * `operators`: who pause grants, forget them and send them back to work while workers run. `copies`:
//!   who imports old copies of documents, and discards dead letters.
//! * `poison`: a few with which something is wrong for good, which nobody else may notice.
//! * `tokens`, `reuse`, `settled`, `written`, `bounds`, `heed`, `judge`: the invariants.
//! * `sabotage`, `broken_store`: what a broken build would do, to see that the invariants notice.

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

/// How a seed is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeedOptions {
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
    /// Whether to write down every event.
    pub trace: bool,
}

/// What became of a seed.
#[derive(Debug, Clone)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// Which invariant was violated, and how.
    pub violation: Option<String>,
    /// What happened, in numbers.
    pub figures: Figures,
    /// How often each [`Fault`] came to pass, and each fault of the provider's by its own name.
    pub reached: EventTally,
    /// How often each [`Excuse`] was used.
    pub excuses: EventTally,
    /// Every event, if it was to be written down.
    pub trace: Vec<String>,
}

/// The longest time that the world may take to settle once nothing goes wrong any more.
const CALM_LIMIT: Duration = Duration::from_secs(1_200);

const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Runs one seed to its end, or to the first violation.
///
/// # Panics
/// If no runtime can be made.
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
    // Until the slowest call of before is done.
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
