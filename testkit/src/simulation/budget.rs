//! A process's budget, and the check of its limit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evergrant_budget::{Budget, Permit};
use evergrant_domain::rate_schedule::CLOCK_ERROR_MAX;
use evergrant_domain::settlement::TripReason;
use evergrant_domain::weigh::{DeathBelief, DeathEvidence};
use evergrant_domain::{BudgetSignal, ProviderId};
use tokio::time::Instant;

use super::Sabotage;
use super::call_latency::NEAR;
use super::process::Process;
use super::world::World;

/// The budget, as a process reaches it.
pub(crate) struct WatchedBudget {
    pub(crate) process: Arc<Process>,
    pub(crate) budget: Arc<dyn Budget>,
}

#[async_trait]
impl Budget for WatchedBudget {
    async fn acquire(&self) -> Permit {
        self.process.live().await;
        let is_ignored = self.process.world.is_broken_by(Sabotage::CircuitIgnored);
        if is_ignored && self.evidence().is_tripped && self.shut_for().is_some() {
            return Permit::unwatched();
        }
        let permit = self.budget.acquire().await;
        self.process.live().await;
        permit
    }

    fn note(&self, signal: &BudgetSignal) {
        let is_broken_by = |sabotage| self.process.world.is_broken_by(sabotage);
        let is_ignored = match signal {
            BudgetSignal::Pause(_) => is_broken_by(Sabotage::ThrottleIgnored),
            BudgetSignal::Trip(TripReason::Unreadable) => is_broken_by(Sabotage::UnreadableGoesOn),
            _ => false,
        };
        if !self.process.is_dead() && !is_ignored {
            self.budget.note(signal);
        }
    }

    fn spacing(&self) -> Option<Duration> {
        self.budget.spacing()
    }

    fn evidence(&self) -> DeathEvidence {
        let evidence = self.budget.evidence();
        if self.process.world.is_broken_by(Sabotage::NoDeathWatch) {
            return DeathEvidence { belief: DeathBelief::Trust, ..evidence };
        }
        evidence
    }

    fn shut_for(&self) -> Option<Duration> {
        self.budget.shut_for()
    }
}

/// The recent requests of all workers.
#[derive(Default)]
pub(crate) struct SentRequests(VecDeque<Instant>);

impl World {
    /// Checks a request that is sent: the provider's limit must allow it. Two workers with opposite
    /// asymmetric latencies to the store may each be wrong about its clock by the tolerated error.
    pub(crate) fn spend(&self, provider: &ProviderId) {
        let is_limited = *provider == self.providers[0].id;
        let Some(limit) = self.plan.limit.filter(|_| is_limited) else { return };
        let now = Instant::now();
        let is_near = self.plan.store_way_ms == NEAR;
        let window =
            limit.per().saturating_sub(if is_near { Duration::ZERO } else { CLOCK_ERROR_MAX * 2 });
        let in_window = self.with(|state| {
            let spent = &mut state.spent.0;
            spent.push_back(now);
            while spent.front().is_some_and(|at| *at + window <= now) {
                spent.pop_front();
            }
            spent.len()
        });
        if in_window > limit.requests() as usize {
            self.violate(format!("{in_window} requests are sent where the limit is {limit}"));
        }
    }
}
