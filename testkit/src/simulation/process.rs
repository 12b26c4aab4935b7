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

/// A process. Once it is dead, none of its calls returns.
pub(crate) struct Process {
    /// Its name, which is never reused.
    pub(crate) name: String,
    /// The machine on which it and its successors run.
    pub(crate) host: usize,
    pub(crate) world: Arc<World>,
    /// Its connection to the broker.
    pub(crate) connection: MemoryQueue,
    /// Stops it.
    pub(crate) asked_to_end: CancellationToken,
    /// Cancelled when it is dead, for any reason.
    pub(crate) ended: CancellationToken,
    dead: AtomicBool,
    /// How long the broker takes to notice its death.
    pub(crate) noticed_after: Duration,
    started_at: Instant,
    cut_off: Mutex<CutOff>,
    /// Until when it is suspended, if it ever was.
    frozen_until: Mutex<Option<Instant>>,
    /// For how many milliseconds its machine was suspended, which the clock of its timers does not
    /// show.
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

/// The fate of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It works.
    Works,
    /// It fails without an effect.
    Fails,
    /// It takes effect and reports a failure.
    Unanswered,
    /// It reports a failure and takes effect later.
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
    /// The fate of a call to a server that is reachable or not: a crash, or the first of `fates`
    /// that its rate selects.
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

    /// Whether it has lived for at least this long.
    pub(crate) fn has_run_for(&self, span: Duration) -> bool {
        self.started_at.elapsed() >= span
    }

    pub(crate) fn is_worker(&self) -> bool {
        self.name.starts_with("worker")
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Never returns if the process is dead.
    pub(crate) async fn survive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits while the process is suspended; never returns if it is dead.
    pub(crate) async fn live(&self) {
        self.survive().await;
        while let Some(until) = self.frozen_until().filter(|until| *until > Instant::now()) {
            tokio::time::sleep_until(until).await;
            self.survive().await;
        }
    }

    /// Suspends it. Its timers advance.
    pub(crate) fn freeze(&self, duration: Duration) {
        let mut until = self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Some(Instant::now() + duration));
    }

    fn frozen_until(&self) -> Option<Instant> {
        *self.frozen_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is or was just suspended. A suspended machine counts.
    pub(crate) fn is_frozen_lately(&self) -> bool {
        !is_past(self.frozen_until(), WAIT_MAX)
    }

    /// Suspends its machine for this long.
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

    /// Ends.
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

    /// Cuts it off from servers for some time.
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

    /// Ends its consumers; their messages go back.
    pub(crate) fn lose_consumers(&self) {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *consumers).cancel();
        self.connection.cut();
    }

    /// Ends with the present consumers.
    pub(crate) fn consumers(&self) -> CancellationToken {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn reaches_store(&self) -> bool {
        self.has_reached_store_for(Duration::ZERO)
    }

    pub(crate) fn reaches_broker(&self) -> bool {
        self.has_reached_broker_for(Duration::ZERO)
    }

    /// Whether it has reached one of the servers for at least the longest wait between two tries.
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

    /// Makes a call with its fate. It takes at most this many milliseconds before and after its
    /// effect. `failed` is the caller's error if it does not work.
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

    /// It takes effect although nobody waits for it.
    fn later<T: Send + 'static>(&self, effect: impl Future<Output = T> + Send + 'static) {
        let (world, wait) = (Arc::clone(&self.world), self.world.some_ms(0, 9_000));
        self.world.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            effect.await;
            world.check_answers();
        });
    }
}

/// The duration of the slowest call.
pub(crate) const SLOWEST_CALL: Duration = Duration::from_secs(14);
/// The longest wait between two tries at an unavailable server.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Whether this was at least that long ago, if ever.
fn is_past(until: Option<Instant>, span: Duration) -> bool {
    until.is_none_or(|until| Instant::now() >= until + span)
}
