//! One budget for any number of replicas.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Budget;
use super::board::Next;
use super::keeper::{Desk, Keeper};
use super::metrics::BudgetMetrics;
use evergrant_domain::limit::Limit;
use evergrant_domain::weigh::Evidence;
use evergrant_domain::{ProviderId, Signal};
use evergrant_ports::ProviderStates;
use evergrant_telemetry::Metrics;

/// What the settings say about a provider's budget.
#[derive(Clone)]
pub struct BudgetSettings {
    /// The provider.
    pub provider: ProviderId,
    /// The limits, all of which are kept; none means no limit. An operator's have precedence.
    pub limits: Vec<Limit>,
    /// What stands for the settings of our client there, and tells nothing of them.
    pub client: String,
    /// Where metrics are registered.
    pub metrics: Metrics,
}

/// One provider's budget for any number of replicas, kept in the store.
///
/// Replicas reserve places for their requests, a fraction of a second ahead and by the store's
/// clock, so that the limits hold for all of them together; idle ones reserve nothing. Pauses and
/// the circuit are in the same place and reach every replica within half a second.
///
/// While the store is away a replica sends what it has reserved, which is its safe share, and
/// nothing beyond: an answer would have nowhere to go.
pub struct SharedBudget {
    desk: Arc<Desk>,
    /// Held while waiting, so that waiters go in the order they came.
    turn: tokio::sync::Mutex<()>,
    _keeper: DropGuard,
}

impl SharedBudget {
    /// The budget of a provider in `store`. It works as long as it exists. Call it within a runtime.
    pub fn start(store: Arc<dyn ProviderStates>, settings: BudgetSettings) -> Self {
        let BudgetSettings { provider, limits, client, metrics } = settings;
        let desk = Arc::new(Desk::new(limits, client));
        let stop = CancellationToken::new();
        let metrics = BudgetMetrics::register(&metrics);
        let (desk_too, far, slow) = (Arc::clone(&desk), false, false);
        let keeper = Keeper { desk: desk_too, store, provider, metrics, far, slow };
        tokio::spawn(keeper.run(stop.clone()));
        Self { desk, turn: tokio::sync::Mutex::new(()), _keeper: stop.drop_guard() }
    }
}

#[async_trait]
impl Budget for SharedBudget {
    async fn acquire(&self) -> Permit {
        let _waiting = Waiting::among(&self.desk);
        let _turn = self.turn.lock().await;
        loop {
            let news = self.desk.news.notified();
            match self.desk.at(|board, now| board.next(now)) {
                Next::Go(None) => return Permit::unwatched(),
                Next::Go(Some(id)) => return Permit(Some((Arc::clone(&self.desk), id))),
                Next::At(time) => tokio::time::sleep_until(self.desk.instant(time)).await,
                Next::News => {
                    self.desk.wanted.notify_one();
                    news.await;
                }
            }
        }
    }

    fn note(&self, signal: &Signal) {
        if self.desk.at(|board, now| board.note(signal, now)) {
            self.desk.wanted.notify_one();
        }
    }

    fn evidence(&self) -> Evidence {
        self.desk.at(|board, now| board.evidence(now))
    }

    fn spacing(&self) -> Option<Duration> {
        self.desk.at(|board, _| board.spacing())
    }

    fn shut_for(&self) -> Option<Duration> {
        let closed = self.desk.at(|board, now| board.closed_for(now));
        if closed.is_some() {
            self.desk.wanted.notify_one();
        }
        closed
    }
}

/// The right to send one request, at once. Dropped, it was not used.
#[must_use = "a permit is for one request, to be sent at once"]
pub struct Permit(Option<(Arc<Desk>, u64)>);

impl Permit {
    /// A permit of a budget that does not want to know when the answer comes.
    pub const fn unwatched() -> Self {
        Self(None)
    }

    /// The answer came, or its time was over.
    pub fn answered(mut self) {
        let Some((desk, id)) = self.0.take() else { return };
        let owes = desk.at(|board, now| {
            board.punctuality.answered(id, now);
            board.punctuality.owes()
        });
        if owes {
            desk.wanted.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((desk, id)) = self.0.take() {
            desk.at(|board, _| board.punctuality.forget(id));
        }
    }
}

/// One of those who wait for a permit.
struct Waiting<'a>(&'a Desk);

impl<'a> Waiting<'a> {
    fn among(desk: &'a Desk) -> Self {
        let unplaced = desk.at(|board, now| {
            board.waiting = board.waiting.saturating_add(1);
            board.wanted(now) > 0
        });
        if unplaced {
            desk.wanted.notify_one();
        }
        Self(desk)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.at(|board, _| board.waiting = board.waiting.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
