//! A process that can crash.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evergrant_memory::MemoryQueue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Fault;
use super::world::World;

/// A process. Once it is dead, nothing that it asks of the world returns.
pub(crate) struct Process {
    /// No other process has or had this name.
    pub(crate) name: String,
    /// The machine that it runs on, and that a successor of it will run on.
    pub(crate) host: usize,
    pub(crate) world: Arc<World>,
    /// Its connection to the broker.
    pub(crate) connection: MemoryQueue,
    /// Asks it to end.
    pub(crate) asked_to_end: CancellationToken,
    /// It is dead, by whatever cause.
    pub(crate) ended: CancellationToken,
    dead: AtomicBool,
    /// How long the broker takes to notice that it is dead.
    pub(crate) noticed_after: Duration,
    started_at: Instant,
    cut_off: Mutex<CutOff>,
    /// Until when it stands still, if it ever did.
    frozen_until: Mutex<Option<Instant>>,
    /// For how many milliseconds its machine was suspended, which the clock of its timers does not tell.
    suspended_ms: AtomicU64,
    /// Ends its consumers.
    consumers: Mutex<CancellationToken>,
}

/// Until when it cannot reach the servers.
#[derive(Default)]
struct CutOff {
    from_store: Option<Instant>,
    from_broker: Option<Instant>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does what it should.
    Works,
    /// It fails and has no effect.
    Fails,
    /// It takes effect and says that it failed.
    Unanswered,
    /// It says that it failed and takes effect later.
    Late,
    /// It takes seconds before it has its effect.
    SlowBefore,
    /// It takes seconds after it had its effect.
    SlowAfter,
    /// The process crashes before it has its effect.
    CrashBefore,
    /// The process crashes after it had its effect.
    CrashAfter,
    /// The process crashes, and it takes effect later.
    CrashAmid,
}

impl Process {
    /// What becomes of a call to a server that is reached or not: a crash, or the first of `fates` that its
    /// rate wants.
    pub(super) fn draw_fate(&self, is_reached: bool, fates: &[(f64, Fate)]) -> Fate {
        let world = &self.world;
        if !is_reached {
            return Fate::Fails;
        }
        if world.chance(world.plan.rates.crash) {
            return [Fate::CrashBefore, Fate::CrashAfter, Fate::CrashAmid][world.below(3)];
        }
        let drawn = fates.iter().find(|(rate, _)| world.chance(*rate));
        drawn.map_or(Fate::Works, |(_, fate)| *fate)
    }

    pub(crate) fn start(world: &Arc<World>, name: String, host: usize) -> Arc<Self> {
        let slow = world.chance(0.3);
        let process = Arc::new(Self {
            host,
            connection: world.broker.connect(),
            asked_to_end: CancellationToken::new(),
            ended: CancellationToken::new(),
            dead: AtomicBool::new(false),
            noticed_after: if slow { world.some_ms(0, 4_000) } else { Duration::ZERO },
            started_at: Instant::now(),
            cut_off: Mutex::default(),
            frozen_until: Mutex::default(),
            suspended_ms: AtomicU64::new(0),
            consumers: Mutex::new(CancellationToken::new()),
            world: Arc::clone(world),
            name,
        });
        world.note(|| format!("{} starts", process.name));
        world.with(|state| state.alive.insert(process.name.clone(), Arc::clone(&process)));
        process
    }

    /// Whether it has lived for so long.
    pub(crate) fn has_run_for(&self, span: Duration) -> bool {
        self.started_at.elapsed() >= span
    }

    pub(crate) fn is_worker(&self) -> bool {
        self.name.starts_with("worker")
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Waits for ever if the process is dead.
    pub(crate) async fn survive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits as long as the process stands still, and for ever if it is dead.
    pub(crate) async fn live(&self) {
        self.survive().await;
        while let Some(until) = self.frozen_until().filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until).await;
            self.survive().await;
        }
    }

    /// Stands still from now on. Its timers go on.
    pub(crate) fn freeze(&self, duration: Duration) {
        let mut until = self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Some(Instant::now() + duration));
    }

    fn frozen_until(&self) -> Option<Instant> {
        *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stands still, or did until just now. A machine that was suspended did.
    pub(crate) fn is_frozen_lately(&self) -> bool {
        !is_past(self.frozen_until(), WAIT_MAX)
    }

    /// Its machine is suspended now, for so long.
    pub(crate) fn suspend(&self, duration: Duration) {
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.suspended_ms.fetch_add(duration_ms, Ordering::Relaxed);
        self.freeze(Duration::ZERO);
    }

    /// For how long its machine was suspended.
    pub(crate) fn suspended(&self) -> Duration {
        Duration::from_millis(self.suspended_ms.load(Ordering::Relaxed))
    }

    /// Crashes now.
    pub(crate) fn crash(&self) {
        if !self.is_dead() {
            self.world.note(|| format!("{} crashes", self.name));
            self.world.reached(Fault::Crash);
            self.end();
        }
    }

    /// Is no more.
    pub(crate) fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.world.with(|state| {
            state.alive.remove(&self.name);
            state.died_at.insert(self.name.clone(), Instant::now());
        });
        self.world.replies_lost_with(&self.name);
        self.world.check_answers();
        let (wait, connection) = (self.noticed_after, self.connection.clone());
        if wait.is_zero() {
            connection.cut();
        } else {
            self.world.runtime.spawn(async move {
                tokio::time::sleep(wait).await;
                connection.cut();
            });
        }
        self.ended.cancel();
    }

    /// Is cut off from a server for some time.
    pub(crate) fn cut_off(&self, from_store: bool, from_broker: bool, duration: Duration) {
        let until = Instant::now() + duration;
        let mut cut_off = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        if from_store {
            cut_off.from_store = Some(until);
        }
        if from_broker {
            cut_off.from_broker = Some(until);
            self.lose_consumers();
        }
    }

    /// Its consumers end, and what they hold goes back.
    pub(crate) fn lose_consumers(&self) {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *consumers).cancel();
        self.connection.cut();
    }

    /// Ends with the consumers that are there now.
    pub(crate) fn consumers(&self) -> CancellationToken {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn reaches_store(&self) -> bool {
        self.has_reached_store_for(Duration::ZERO)
    }

    pub(crate) fn reaches_broker(&self) -> bool {
        self.has_reached_broker_for(Duration::ZERO)
    }

    /// Whether it has reached one of the servers for as long as it waits at most between two tries.
    pub(crate) fn could_deliver(&self) -> bool {
        let reaches_one =
            self.has_reached_store_for(WAIT_MAX) || self.has_reached_broker_for(WAIT_MAX);
        reaches_one && !self.is_frozen_lately()
    }

    pub(crate) fn has_reached_store_for(&self, span: Duration) -> bool {
        let own = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner).from_store;
        let all = self.world.with(|state| state.store_away_until);
        self.world.is_calm_for(span) || is_past(own, span) && is_past(all, span)
    }

    fn has_reached_broker_for(&self, span: Duration) -> bool {
        let own = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner).from_broker;
        let all = self.world.with(|state| state.broker_away_until);
        self.world.is_calm_for(span) || is_past(own, span) && is_past(all, span)
    }

    /// Makes a call as its fate has it, which takes so many milliseconds at most before its effect and
    /// after it. `failed` is the error that the caller gets if it does not
    /// work.
    pub(crate) async fn call<T, E>(
        &self,
        fate: Fate,
        way_ms: [u64; 2],
        what: &'static str,
        failed: impl FnOnce(&'static str) -> E,
        effect: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.live().await;
        tokio::time::sleep(self.world.some_ms(0, way_ms[0])).await;
        self.live().await;
        if fate != Fate::Works {
            self.world.note(|| format!("{}: {what}: {fate:?}", self.name));
        }
        match fate {
            Fate::Works | Fate::Unanswered | Fate::SlowAfter | Fate::CrashAfter => {}
            Fate::SlowBefore => self.take_seconds().await,
            Fate::Fails => {
                tokio::time::sleep(self.world.some_ms(0, 500)).await;
                self.live().await;
                return Err(failed("refused by chance"));
            }
            Fate::CrashBefore => self.crash_amid().await,
            Fate::Late => {
                self.later(effect);
                tokio::time::sleep(self.world.some_ms(0, 500)).await;
                self.live().await;
                return Err(failed("no answer yet"));
            }
            Fate::CrashAmid => {
                self.later(effect);
                self.crash_amid().await;
                return Err(failed("never"));
            }
        }
        let result = effect.await;
        self.world.check_answers();
        tokio::time::sleep(self.world.some_ms(0, way_ms[1])).await;
        self.survive().await;
        match fate {
            Fate::CrashAfter => self.crash_amid().await,
            Fate::SlowAfter => self.take_seconds().await,
            Fate::Unanswered => {
                tokio::time::sleep(self.world.some_ms(0, 500)).await;
                self.live().await;
                return Err(failed("the answer was lost"));
            }
            _ => {}
        }
        self.live().await;
        result
    }

    async fn take_seconds(&self) {
        let longest_ms = u64::try_from(SLOWEST_CALL.as_millis()).unwrap_or(u64::MAX);
        tokio::time::sleep(self.world.some_ms(500, longest_ms)).await;
        self.live().await;
    }

    async fn crash_amid(&self) {
        self.crash();
        self.live().await;
    }

    /// It takes effect though nobody waits for it.
    fn later<T: Send + 'static>(&self, effect: impl Future<Output = T> + Send + 'static) {
        let (world, wait) = (Arc::clone(&self.world), self.world.some_ms(0, 9_000));
        self.world.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            effect.await;
            world.check_answers();
        });
    }
}

/// The slowest call takes so long.
pub(crate) const SLOWEST_CALL: Duration = Duration::from_secs(14);
/// Between two tries at a server that was away.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Whether it is so long past, if it ever was.
fn is_past(until: Option<Instant>, span: Duration) -> bool {
    until.is_none_or(|until| Instant::now() >= until + span)
}
