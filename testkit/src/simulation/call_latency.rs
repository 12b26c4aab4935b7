//! The fate of a store call on its way.

use std::sync::Arc;

use evergrant_memory::MemoryStore;

use super::Fault;
use super::process::Fate;
use super::store::FaultyStore;

/// The latencies to a store on the next machine and back, in milliseconds.
pub(super) const NEAR: [u64; 2] = [3, 0];

impl FaultyStore {
    /// The store for a command: one that takes effect late may use its time of receipt.
    pub(super) fn store_at(&self, fate: Fate) -> Arc<MemoryStore> {
        let world = &self.0.world;
        let is_late = matches!(fate, Fate::Late | Fate::SlowBefore | Fate::CrashAmid);
        if is_late && world.below(2) == 0 {
            world.reached(Fault::StoreOldNow);
            return Arc::new(world.store.as_of(world.now()));
        }
        Arc::clone(&world.store)
    }

    /// The store for a claim after which the machine is suspended: the claim was made that long
    /// ago, which the clock of timers does not show.
    pub(super) fn before_suspension(&self, store: Arc<MemoryStore>) -> Arc<MemoryStore> {
        let world = &self.0.world;
        if !world.chance(world.plan.rates.suspended) {
            return store;
        }
        let duration = world.some_ms(3_000, 20_000);
        world.reached(Fault::Suspended);
        world.note(|| format!("{} was suspended for {duration:?}", self.0.name));
        self.0.suspend(duration);
        Arc::new(world.store.as_of(world.now().minus(duration)))
    }

    pub(super) fn fate(&self) -> Fate {
        let rates = &self.0.world.plan.rates;
        let fates = [
            (rates.store_fails, Fate::Fails),
            (rates.store_unanswered, Fate::Unanswered),
            (rates.store_late, Fate::Late),
            (rates.store_slow, Fate::SlowBefore),
            (rates.store_slow, Fate::SlowAfter),
        ];
        self.0.draw_fate(self.0.reaches_store(), &fates)
    }
}

/// The fault of a fate.
pub(super) fn fault_of(fate: Fate) -> Option<Fault> {
    match fate {
        Fate::Works => None,
        Fate::Fails => Some(Fault::StoreFails),
        Fate::Unanswered => Some(Fault::StoreUnanswered),
        Fate::Late => Some(Fault::StoreLate),
        Fate::SlowBefore | Fate::SlowAfter => Some(Fault::StoreSlow),
        Fate::CrashBefore | Fate::CrashAfter | Fate::CrashAmid => Some(Fault::StoreCrash),
    }
}
