//! The task that keeps a replica's local budget: it reserves slots in the store, writes what answers say
//! about the provider, and reads what other replicas wrote.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::local_state::{LocalBudget, SLOW_RESERVATION_DELAY};
use super::metrics::BudgetMetrics;
use evergrant_domain::ProviderId;
use evergrant_domain::limit::RateLimit;
use evergrant_domain::rate_schedule::CLOCK_ERROR_MAX;
use evergrant_ports::Backoff;
use evergrant_ports::{ProviderStates, StoreError};

/// A local budget and the notifications beside it.
pub(super) struct BudgetHandle {
    local: Mutex<LocalBudget>,
    /// Rings for those who wait for a permit.
    pub(super) news: Notify,
    /// Rings for the sync task.
    pub(super) wanted: Notify,
    started: Instant,
}

impl BudgetHandle {
    pub(super) fn new(limits: Vec<RateLimit>, client: String) -> Self {
        Self {
            local: Mutex::new(LocalBudget::new(limits, client)),
            news: Notify::new(),
            wanted: Notify::new(),
            started: Instant::now(),
        }
    }

    /// Runs `act` with the local budget locked. Its second argument is the time.
    pub(super) fn at<T>(&self, act: impl FnOnce(&mut LocalBudget, Duration) -> T) -> T {
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut local, self.now())
    }

    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.started + time
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Keeps the local budget for one provider in step with the store.
pub(super) struct SyncTask {
    pub(super) handle: Arc<BudgetHandle>,
    pub(super) store: Arc<dyn ProviderStates>,
    pub(super) provider: ProviderId,
    pub(super) metrics: BudgetMetrics,
    /// The store's time stayed unsure at the last refresh, however often it was asked.
    pub(super) far: bool,
    /// It was said that the store is slow.
    pub(super) slow: bool,
}

/// After so many tries against faster replicas it is the turn of the next refresh.
const TRIES: u32 = 8;
/// The first wait after such a try.
const RETRY_DELAY: Duration = Duration::from_millis(2);
const RETRY_DELAY_MAX: Duration = Duration::from_millis(50);
/// Waits while the store is away.
const STORE_AWAY_DELAY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl SyncTask {
    /// Works until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(STORE_AWAY_DELAY.0, STORE_AWAY_DELAY.1);
        let mut away = false;
        while let Some(()) = stop.run_until_cancelled(self.until_due()).await {
            let Err(error) = self.refresh().await else {
                if std::mem::take(&mut away) {
                    tracing::info!(provider = %self.provider, "the budget's store is back");
                }
                backoff.reset();
                continue;
            };
            let provider = &self.provider;
            if !std::mem::replace(&mut away, true) {
                tracing::warn!(%provider, %error, "no budget from the store: sending what is reserved and no more");
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn until_due(&self) {
        loop {
            let wanted = self.handle.wanted.notified();
            match self.handle.at(|local, now| local.due(now)) {
                Some(due) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(self.handle.instant(due)) => return,
                        () = wanted => {}
                    }
                }
                None => wanted.await,
            }
        }
    }

    /// Reads, decides and writes, until nobody else was faster.
    async fn refresh(&mut self) -> Result<(), StoreError> {
        let mut next_try = Backoff::new(RETRY_DELAY, RETRY_DELAY_MAX);
        for tried in 0..TRIES {
            let sent = self.handle.now();
            let read = self.store.provider_state(&self.provider).await?;
            let plan = self.handle.at(|local, now| local.plan(read, sent, now));
            // An answer that took long tells little of the store's time. The next may be quicker,
            // unless none was at the last refresh.
            if plan.unsure > CLOCK_ERROR_MAX && tried < TRIES / 2 && !self.far {
                self.handle.at(|local, _| local.put_back(plan));
                continue;
            }
            self.far = plan.unsure > CLOCK_ERROR_MAX;
            let written = if plan.changed {
                self.store.set_provider_state(&self.provider, plan.version, &plan.state).await
            } else {
                Ok(true)
            };
            if let Ok(true) = written {
                let reserves = plan.reserves();
                let vary = 0.8 + 0.4 * fastrand::f64();
                let took = self.handle.now().saturating_sub(sent);
                let (lead, missed) = self.handle.at(|local, now| {
                    local.carry_out(plan, now, vary);
                    (local.lead(), local.take_missed())
                });
                self.handle.news.notify_waiters();
                if reserves {
                    self.tell(took, lead, missed);
                }
                return Ok(());
            }
            self.handle.at(|local, _| local.put_back(plan));
            written?;
            tokio::time::sleep(next_try.next_wait()).await;
        }
        Ok(())
    }
    /// Says how long a reservation took, and once if that is so long that it lowers the rate.
    fn tell(&mut self, took: Duration, lead: Duration, missed: u64) {
        self.metrics.reserved(&self.provider, took, missed);
        let provider = &self.provider;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if !self.slow && (lead * 2 / 3 > SLOW_RESERVATION_DELAY || missed > 0) {
            self.slow = true;
            tracing::warn!(%provider, took_ms, missed,
                "the store takes long to reserve the budget: fewer requests are sent than the limits \
                 allow; look at its latency and its load");
        } else if self.slow && lead * 2 / 3 < SLOW_RESERVATION_DELAY / 2 {
            self.slow = false;
            tracing::info!(%provider, took_ms, "the store reserves the budget quickly again");
        }
    }
}
