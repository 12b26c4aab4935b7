//! One budget for any number of replicas, kept in the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Budget;
use super::local_state::NextStep;
use super::metrics::BudgetMetrics;
use super::sync_task::{BudgetHandle, SyncTask};
use evergrant_domain::limit::RateLimit;
use evergrant_domain::weigh::DeathEvidence;
use evergrant_domain::{BudgetSignal, ProviderId};
use evergrant_ports::ProviderStates;
use evergrant_telemetry::ProcessMetrics;

/// The settings of a provider's budget.
#[derive(Clone)]
pub struct BudgetSettings {
    /// The provider.
    pub provider: ProviderId,
    /// The limits, all of which are kept; none means no limit. An operator's limits replace them.
    pub limits: Vec<RateLimit>,
    /// The fingerprint of the client settings there.
    pub client: String,
    /// The registry for metrics.
    pub metrics: ProcessMetrics,
}

/// One provider's budget for any number of replicas, kept in the store.
///
/// Replicas reserve slots for their requests, a fraction of a second ahead and by the store's
/// clock, so that the limits hold for all of them together. Idle replicas reserve nothing. Pauses
/// and the circuit breaker are in the same record and reach every replica within half a second.
///
/// While the store is unavailable, a replica sends only what it has reserved, which is its safe
/// share. An answer to any more could not be written.
pub struct SharedBudget {
    handle: Arc<BudgetHandle>,
    /// Held while waiting, so that requests are served in the order of arrival.
    turn: tokio::sync::Mutex<()>,
    _keeper: DropGuard,
}

impl SharedBudget {
    /// The budget of a provider in `store`. Its task runs until this is dropped. Call it within a
    /// runtime.
    pub fn start(store: Arc<dyn ProviderStates>, settings: BudgetSettings) -> Self {
        let BudgetSettings { provider, limits, client, metrics } = settings;
        let handle = Arc::new(BudgetHandle::new(limits, client));
        let stop = CancellationToken::new();
        let metrics = BudgetMetrics::register(&metrics);
        let (desk_too, far, slow) = (Arc::clone(&handle), false, false);
        let keeper = SyncTask { handle: desk_too, store, provider, metrics, far, slow };
        tokio::spawn(keeper.run(stop.clone()));
        Self { handle, turn: tokio::sync::Mutex::new(()), _keeper: stop.drop_guard() }
    }
}

#[async_trait]
impl Budget for SharedBudget {
    async fn acquire(&self) -> Permit {
        let _waiting = WaitGuard::among(&self.handle);
        let _turn = self.turn.lock().await;
        loop {
            let news = self.handle.news.notified();
            match self.handle.at(|local, now| local.next(now)) {
                NextStep::Go(None) => return Permit::unwatched(),
                NextStep::Go(Some(id)) => return Permit(Some((Arc::clone(&self.handle), id))),
                NextStep::At(time) => tokio::time::sleep_until(self.handle.instant(time)).await,
                NextStep::News => {
                    self.handle.wanted.notify_one();
                    news.await;
                }
            }
        }
    }

    fn note(&self, signal: &BudgetSignal) {
        if self.handle.at(|local, now| local.note(signal, now)) {
            self.handle.wanted.notify_one();
        }
    }

    fn evidence(&self) -> DeathEvidence {
        self.handle.at(|local, now| local.evidence(now))
    }

    fn spacing(&self) -> Option<Duration> {
        self.handle.at(|local, _| local.spacing())
    }

    fn shut_for(&self) -> Option<Duration> {
        let closed = self.handle.at(|local, now| local.closed_for(now));
        if closed.is_some() {
            self.handle.wanted.notify_one();
        }
        closed
    }
}

/// The right to send one request, at once. A permit that is dropped counts as unused.
#[must_use = "a permit is for one request, to be sent at once"]
pub struct Permit(Option<(Arc<BudgetHandle>, u64)>);

impl Permit {
    /// A permit of a budget that does not track answers.
    pub const fn unwatched() -> Self {
        Self(None)
    }

    /// Notes that the answer came, or that its time is over.
    pub fn answered(mut self) {
        let Some((handle, id)) = self.0.take() else { return };
        let owes = handle.at(|local, now| {
            local.lateness_tracker.answered(id, now);
            local.lateness_tracker.owes()
        });
        if owes {
            handle.wanted.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((handle, id)) = self.0.take() {
            handle.at(|local, _| local.lateness_tracker.forget(id));
        }
    }
}

/// A request that waits for a permit.
struct WaitGuard<'a>(&'a BudgetHandle);

impl<'a> WaitGuard<'a> {
    fn among(handle: &'a BudgetHandle) -> Self {
        let unplaced = handle.at(|local, now| {
            local.waiting = local.waiting.saturating_add(1);
            local.wanted(now) > 0
        });
        if unplaced {
            handle.wanted.notify_one();
        }
        Self(handle)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.at(|local, _| local.waiting = local.waiting.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
