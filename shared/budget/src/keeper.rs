//! The task that keeps a replica's board: it reserves places in the store, writes what answers say
//! about the provider, and reads what other replicas wrote.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::board::{Board, SLOW};
use super::metrics::BudgetMetrics;
use evergrant_domain::ProviderId;
use evergrant_domain::cell::SURE;
use evergrant_domain::limit::Limit;
use evergrant_ports::Backoff;
use evergrant_ports::{ProviderStates, StoreError};

/// A board and the bells at it.
pub(super) struct Desk {
    board: Mutex<Board>,
    /// Rings for those who wait for a permit.
    pub(super) news: Notify,
    /// Rings for the keeper.
    pub(super) wanted: Notify,
    started: Instant,
}

impl Desk {
    pub(super) fn new(limits: Vec<Limit>, client: String) -> Self {
        Self {
            board: Mutex::new(Board::new(limits, client)),
            news: Notify::new(),
            wanted: Notify::new(),
            started: Instant::now(),
        }
    }

    /// Does something at the board. The second argument is the time.
    pub(super) fn at<T>(&self, act: impl FnOnce(&mut Board, Duration) -> T) -> T {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut board, self.now())
    }

    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.started + time
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Keeps a board for one provider.
pub(super) struct Keeper {
    pub(super) desk: Arc<Desk>,
    pub(super) store: Arc<dyn ProviderStates>,
    pub(super) provider: ProviderId,
    pub(super) metrics: BudgetMetrics,
    /// The store's time stayed unsure at the last look, however often it was asked.
    pub(super) far: bool,
    /// It was said that the store is slow.
    pub(super) slow: bool,
}

/// After so many tries against faster replicas it is the next look's turn.
const TRIES: u32 = 8;
/// The first wait after such a try.
const NEXT_TRY: Duration = Duration::from_millis(2);
const LONGEST_TRY: Duration = Duration::from_millis(50);
/// Waits while the store is away.
const AWAY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Keeper {
    /// Works until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(AWAY.0, AWAY.1);
        let mut away = false;
        while let Some(()) = stop.run_until_cancelled(self.until_due()).await {
            let Err(error) = self.look().await else {
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
            let wanted = self.desk.wanted.notified();
            match self.desk.at(|board, now| board.due(now)) {
                Some(due) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(self.desk.instant(due)) => return,
                        () = wanted => {}
                    }
                }
                None => wanted.await,
            }
        }
    }

    /// Reads, decides and writes, until nobody else was faster.
    async fn look(&mut self) -> Result<(), StoreError> {
        let mut next_try = Backoff::new(NEXT_TRY, LONGEST_TRY);
        for tried in 0..TRIES {
            let sent = self.desk.now();
            let read = self.store.provider_state(&self.provider).await?;
            let plan = self.desk.at(|board, now| board.plan(read, sent, now));
            // An answer that took long tells little of the store's time. The next may be quicker,
            // unless none was at the last look.
            if plan.unsure > SURE && tried < TRIES / 2 && !self.far {
                self.desk.at(|board, _| board.put_back(plan));
                continue;
            }
            self.far = plan.unsure > SURE;
            let written = if plan.changed {
                self.store.set_provider_state(&self.provider, plan.version, &plan.state).await
            } else {
                Ok(true)
            };
            if let Ok(true) = written {
                let reserves = plan.reserves();
                let vary = 0.8 + 0.4 * fastrand::f64();
                let took = self.desk.now().saturating_sub(sent);
                let (lead, missed) = self.desk.at(|board, now| {
                    board.carry_out(plan, now, vary);
                    (board.lead(), board.take_missed())
                });
                self.desk.news.notify_waiters();
                if reserves {
                    self.tell(took, lead, missed);
                }
                return Ok(());
            }
            self.desk.at(|board, _| board.put_back(plan));
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
        if !self.slow && (lead * 2 / 3 > SLOW || missed > 0) {
            self.slow = true;
            tracing::warn!(%provider, took_ms, missed,
                "the store takes long to reserve the budget: fewer requests are sent than the limits \
                 allow; look at its latency and its load");
        } else if self.slow && lead * 2 / 3 < SLOW / 2 {
            self.slow = false;
            tracing::info!(%provider, took_ms, "the store reserves the budget quickly again");
        }
    }
}
