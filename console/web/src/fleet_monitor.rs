//! The fleet monitor: reads the state of the fleet in the background, so that pages are fast and
//! can be shown while a server is unavailable.
//!
//! It reads every two seconds while pages are viewed, and rarely otherwise. Expensive queries are
//! repeated after a multiple of their duration.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::statistics::{MINUTE, MinuteCounts, STATISTICS_TTL, minute_of};
use evergrant_domain::{ProviderId, ProviderState, Timestamp};
use evergrant_ports::{JobQueue, Store, wall_clock};
use evergrant_producer::outlook;
use evergrant_provider::Provider;
use evergrant_runtime::process::ShutdownSignal;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::fleet_snapshot::{FleetSnapshot, Part, ProviderWatch};
use evergrant_operations::overview::DUE_MAX;

/// The interval while pages are viewed.
const WATCHED_INTERVAL: Duration = Duration::from_secs(2);
/// The interval otherwise.
const UNWATCHED_INTERVAL: Duration = Duration::from_secs(30);
/// How long after a page was shown pages count as viewed.
const WATCHED_TTL: Duration = Duration::from_secs(60);
/// A server that takes longer counts as unavailable.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(8);
/// Idle time after an expensive query, as a multiple of its duration.
const QUERY_COOLDOWN_FACTOR: u32 = 20;
/// The shortest interval between counts of all grants.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// The shortest interval between counts of due grants.
const DUE_INTERVAL: Duration = Duration::from_secs(4);
/// The shortest interval between forecasts.
const OUTLOOK_INTERVAL: Duration = Duration::from_secs(300);
/// The horizons of the forecast.
const HORIZONS_DAYS: [u32; 2] = [7, 30];

/// Reads the state of the fleet.
pub(super) struct FleetMonitor {
    store: Arc<dyn Store>,
    queue: Arc<dyn JobQueue>,
    default_provider: Option<ProviderId>,
    known: watch::Sender<Arc<FleetSnapshot>>,
    seen_at: watch::Sender<Instant>,
    wake: Notify,
    recount: Notify,
    due: QueryCooldown,
}

/// When an expensive query may be repeated.
#[derive(Default)]
struct QueryCooldown(std::sync::Mutex<Option<Instant>>);

impl QueryCooldown {
    fn is_over(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        until.is_none_or(|until| until <= Instant::now())
    }

    fn begin(&self, took: Duration, least: Duration) {
        let until = Instant::now() + (took * QUERY_COOLDOWN_FACTOR).max(least);
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(until);
    }

    fn end(&self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }
}

impl FleetMonitor {
    pub(super) fn new(
        store: Arc<dyn Store>,
        queue: Arc<dyn JobQueue>,
        providers: &[Arc<Provider>],
        default_provider: Option<ProviderId>,
    ) -> Self {
        let providers = providers.iter().map(|provider| ProviderWatch {
            provider: Arc::clone(provider),
            state: None,
            due: None,
            queued: None,
        });
        let known = FleetSnapshot {
            store: Part::Works,
            queue: Part::Works,
            now: None,
            providers: providers.collect(),
            processes: Vec::new(),
            grants: Vec::new(),
            minutes: Arc::default(),
            outlook: None,
        };
        Self {
            store,
            queue,
            default_provider,
            known: watch::Sender::new(Arc::new(known)),
            seen_at: watch::Sender::new(Instant::now()),
            wake: Notify::new(),
            recount: Notify::new(),
            due: QueryCooldown::default(),
        }
    }

    /// The present snapshot. Pages count as viewed from now on.
    pub(super) fn known(&self) -> Arc<FleetSnapshot> {
        let before = self.seen_at.send_replace(Instant::now());
        if before.elapsed() > WATCHED_TTL {
            self.wake.notify_one();
        }
        Arc::clone(&self.known.borrow())
    }

    /// The snapshots, each time they change.
    pub(super) fn changes(&self) -> watch::Receiver<Arc<FleetSnapshot>> {
        self.known.subscribe()
    }

    /// Reads again soon, because an operator has changed something.
    pub(super) fn look_again(&self) {
        self.due.end();
        self.recount.notify_one();
        self.wake.notify_one();
    }

    /// Reads until `shutdown`.
    pub(super) async fn run(self: Arc<Self>, shutdown: ShutdownSignal) {
        let ahead = tokio::spawn(Arc::clone(&self).look_ahead());
        let counting = tokio::spawn(Arc::clone(&self).keep_counting());
        while !shutdown.has_begun() {
            let watched = self.seen_at.borrow().elapsed() < WATCHED_TTL;
            let pause = if watched { WATCHED_INTERVAL } else { UNWATCHED_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
                () = shutdown.clone().wait() => break,
            }
            self.look().await;
        }
        ahead.abort();
        counting.abort();
    }

    /// Reads once.
    pub(super) async fn look(&self) {
        let (store, queue) = futures::join!(self.look_at_store(), self.look_at_queue());
        self.change(|known| {
            known.store = known.store.after(store.as_ref().map(|_| ()).map_err(Clone::clone));
            known.queue = known.queue.after(queue.as_ref().map(|_| ()).map_err(Clone::clone));
            if let Ok(found) = store {
                found.put_into(known);
            }
            for (watch, queued) in known.providers.iter_mut().zip(queue.into_iter().flatten()) {
                watch.queued = Some(queued);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut FleetSnapshot)) {
        self.known.send_modify(|known| change(Arc::make_mut(known)));
    }

    fn ids(&self) -> Vec<ProviderId> {
        self.known.borrow().providers.iter().map(|watch| watch.provider.id.clone()).collect()
    }

    async fn look_at_queue(&self) -> Result<Vec<u64>, String> {
        let (queue, ids) = (Arc::clone(&self.queue), self.ids());
        patiently(async move {
            let mut depths = Vec::with_capacity(ids.len());
            for id in ids {
                depths.push(queue.depth(&id).await?);
            }
            Ok(depths)
        })
        .await
    }

    async fn look_at_store(&self) -> Result<StoreFindings, String> {
        let (store, ids) = (Arc::clone(&self.store), self.ids());
        let last = self.known.borrow().minutes.last_key_value().map(|(minute, _)| *minute);
        let wanted = self.due.is_over().then(|| ids.clone());
        let mut found = patiently(async move {
            let now = store.now().await?;
            let mut states = Vec::with_capacity(ids.len());
            for id in &ids {
                states.push(store.provider_state(id).await?.value);
            }
            // The last minutes may have changed meanwhile.
            let since = last.map_or(now.minus(STATISTICS_TTL), |last| last.minus(3 * MINUTE));
            Ok(StoreFindings {
                now,
                read_at: wall_clock(),
                states,
                processes: store.processes().await?,
                minutes: store.statistics(since).await?,
                since: minute_of(since),
                due: None,
            })
        })
        .await?;
        if let Some(ids) = wanted {
            found.due = self.count_due(ids).await;
        }
        Ok(found)
    }

    async fn count_due(&self, ids: Vec<ProviderId>) -> Option<Vec<u64>> {
        let (store, began) = (Arc::clone(&self.store), Instant::now());
        let counted = patiently(async move {
            let mut due = Vec::with_capacity(ids.len());
            for id in &ids {
                due.push(store.count_due(id, DUE_MAX).await?);
            }
            Ok(due)
        });
        let due = counted.await.ok();
        self.due.begin(began.elapsed(), DUE_INTERVAL);
        due
    }

    /// Counts all grants from time to time while pages are viewed.
    async fn keep_counting(self: Arc<Self>) {
        let mut seen = self.seen_at.subscribe();
        loop {
            let (store, began) = (Arc::clone(&self.store), Instant::now());
            let counted = patiently(async move { Ok(store.count_grants().await?) });
            if let Ok(grants) = counted.await {
                self.change(|known| known.grants = grants);
            }
            tokio::select! {
                () = tokio::time::sleep((began.elapsed() * QUERY_COOLDOWN_FACTOR).max(COUNT_INTERVAL)) => {}
                () = self.recount.notified() => {}
            }
            if seen.wait_for(|seen_at| seen_at.elapsed() < WATCHED_TTL).await.is_err() {
                return;
            }
        }
    }

    /// Makes forecasts from time to time while pages are viewed. Each reads every grant.
    async fn look_ahead(self: Arc<Self>) {
        let mut seen = self.seen_at.subscribe();
        // Not before the first page.
        while seen.changed().await.is_ok() {
            let providers: Vec<_> =
                self.known.borrow().providers.iter().map(|w| Arc::clone(&w.provider)).collect();
            let began = Instant::now();
            let default = self.default_provider.as_ref();
            let looked = outlook(&*self.store, &providers, default, &HORIZONS_DAYS).await;
            let pause = match looked {
                Ok(forecasts) => {
                    let outlook = Some((wall_clock(), Arc::new(forecasts)));
                    self.change(|known| known.outlook = outlook);
                    (began.elapsed() * QUERY_COOLDOWN_FACTOR).max(OUTLOOK_INTERVAL)
                }
                Err(_) => COUNT_INTERVAL,
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// What was read from the store.
struct StoreFindings {
    now: Timestamp,
    read_at: Timestamp,
    states: Vec<ProviderState>,
    processes: Vec<Heartbeat>,
    minutes: Vec<MinuteCounts>,
    /// The first minute of the statistics.
    since: Timestamp,
    due: Option<Vec<u64>>,
}

impl StoreFindings {
    fn put_into(self, known: &mut FleetSnapshot) {
        known.now = Some((self.now, self.read_at));
        for (watch, state) in known.providers.iter_mut().zip(self.states) {
            watch.state = Some(state);
        }
        for (watch, due) in known.providers.iter_mut().zip(self.due.into_iter().flatten()) {
            watch.due = Some(due);
        }
        known.processes = self.processes;
        let minutes = Arc::make_mut(&mut known.minutes);
        minutes
            .retain(|minute, _| *minute < self.since && *minute >= self.now.minus(STATISTICS_TTL));
        for MinuteCounts { provider, minute, counts } in self.minutes {
            minutes.entry(minute).or_default().insert(provider, counts);
        }
    }
}

/// A server's answer within the timeout. The query is not cancelled, which drivers handle badly: it
/// ends by itself later.
async fn patiently<T: Send + 'static>(
    question: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(QUERY_TIMEOUT, tokio::spawn(question)).await {
        Ok(Ok(answer)) => answer.map_err(|fault| fault.0),
        Ok(Err(_)) => Err("the query was cancelled".to_owned()),
        Err(_) => Err(format!("no answer within {} s", QUERY_TIMEOUT.as_secs())),
    }
}

/// A failure, as text.
struct Fault(String);

impl<E: std::fmt::Display> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
