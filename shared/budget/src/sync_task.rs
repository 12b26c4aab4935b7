//! The task that synchronizes a replica's budget with the store: it reserves slots, writes what
//! answers say about the provider, and reads what other replicas wrote.

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

/// A local budget and its notifications.
pub(super) struct BudgetHandle {
    local: Mutex<LocalBudget>,
    /// Wakes requests that wait for a permit.
    pub(super) news: Notify,
    /// Wakes the sync task.
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

/// Synchronizes the local budget of one provider with the store.
pub(super) struct SyncTask {
    pub(super) handle: Arc<BudgetHandle>,
    pub(super) store: Arc<dyn ProviderStates>,
    pub(super) provider: ProviderId,
    pub(super) metrics: BudgetMetrics,
    /// Whether the store's time remained uncertain at the last refresh, despite repeated reads.
    pub(super) far: bool,
    /// Whether the slow store was reported.
    pub(super) slow: bool,
}

/// After so many conflicts with faster replicas, the next refresh has to try.
const TRIES: u32 = 8;
/// The first wait after a conflict.
const RETRY_DELAY: Duration = Duration::from_millis(2);
const RETRY_DELAY_MAX: Duration = Duration::from_millis(50);
/// The waits while the store is unavailable.
const STORE_AWAY_DELAY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl SyncTask {
    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(STORE_AWAY_DELAY.0, STORE_AWAY_DELAY.1);
        let mut away = false;
        while let Some(()) = stop.run_until_cancelled(self.until_due()).await {
            let Err(error) = self.refresh().await else {
                if std::mem::take(&mut away) {
                    tracing::info!(provider = %self.provider, "the store is available again: requests continue");
                }
                backoff.reset();
                continue;
            };
            let provider = &self.provider;
            if !std::mem::replace(&mut away, true) {
                tracing::warn!(%provider, %error, "the store is unavailable for the budget: sending only what is reserved");
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

    /// Reads, decides and writes, until there is no conflict (optimistic concurrency).
    async fn refresh(&mut self) -> Result<(), StoreError> {
        let mut next_try = Backoff::new(RETRY_DELAY, RETRY_DELAY_MAX);
        for tried in 0..TRIES {
            let sent = self.handle.now();
            let read = self.store.provider_state(&self.provider).await?;
            let plan = self.handle.at(|local, now| local.plan(read, sent, now));
            // A slow answer says little about the store's time. The next one may be faster, unless
            // none was at the last refresh.
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
    /// Records the duration of a reservation, and logs once if it is so long that it lowers the
    /// rate.
    fn tell(&mut self, took: Duration, lead: Duration, missed: u64) {
        self.metrics.reserved(&self.provider, took, missed);
        let provider = &self.provider;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if !self.slow && (lead * 2 / 3 > SLOW_RESERVATION_DELAY || missed > 0) {
            self.slow = true;
            tracing::warn!(%provider, took_ms, missed,
                "reservations in the store are slow: fewer requests are sent than the limits \
                 allow; check the store's latency and load");
        } else if self.slow && lead * 2 / 3 < SLOW_RESERVATION_DELAY / 2 {
            self.slow = false;
            tracing::info!(%provider, took_ms, "reservations in the store are fast again");
        }
    }
}
