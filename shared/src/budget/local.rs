//! A budget within one process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use governor::clock::{Clock, ReasonablyRealtime};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Budget;
use crate::domain::gate::{Admission, Gate};
use crate::domain::limit::Limit;
use crate::domain::{Signal, Timestamp};

type Limiter =
    RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<std::time::Instant>>;

/// A provider's budget within one process: one cell for each limit, and the gate.
pub struct LocalBudget {
    limiters: Vec<Limiter>,
    /// Held while waiting, so that waiters go in the order they came.
    turn: tokio::sync::Mutex<()>,
    gate: Mutex<Gate>,
    gate_changed: Notify,
    started: Instant,
}

/// The runtime's clock, so that tests can pause it.
#[derive(Debug, Clone, Copy, Default)]
struct RuntimeClock;

impl Clock for RuntimeClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

impl ReasonablyRealtime for RuntimeClock {}

impl LocalBudget {
    /// A budget of these limits, all of which are kept. None means no limit.
    pub fn new(limits: &[Limit]) -> Self {
        let limiters = limits.iter().filter_map(|limit| quota(*limit));
        Self {
            limiters: limiters
                .map(|quota| RateLimiter::direct_with_clock(quota, RuntimeClock))
                .collect(),
            turn: tokio::sync::Mutex::new(()),
            gate: Mutex::new(Gate::default()),
            gate_changed: Notify::new(),
            started: Instant::now(),
        }
    }

    /// The gate's time: it only ever compares times of this process.
    fn now(&self) -> Timestamp {
        Timestamp::default().plus(self.started.elapsed())
    }

    fn with_gate<T>(&self, act: impl FnOnce(&mut Gate, Timestamp) -> T) -> T {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut gate, self.now())
    }

    async fn pass_gate(&self) {
        loop {
            let changed = self.gate_changed.notified();
            match self.with_gate(Gate::admit) {
                Admission::Go => return,
                Admission::WaitUntil(until) => {
                    let wait = until.since(self.now());
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(wait) => {}
                        () = changed => {}
                    }
                }
            }
        }
    }
}

fn quota(limit: Limit) -> Option<Quota> {
    let cell = limit.cell();
    let burst = std::num::NonZeroU32::new(cell.burst)?;
    Quota::with_period(cell.spacing).map(|quota| quota.allow_burst(burst))
}

#[async_trait]
impl Budget for LocalBudget {
    async fn acquire(&self) {
        let _turn = self.turn.lock().await;
        for limiter in &self.limiters {
            while let Err(too_soon) = limiter.check() {
                tokio::time::sleep(too_soon.wait_time_from(RuntimeClock.now())).await;
            }
        }
        // Last, so that a pause that began during the wait holds.
        self.pass_gate().await;
    }

    fn note(&self, signal: &Signal) {
        self.with_gate(|gate, now| gate.note(signal, now));
        self.gate_changed.notify_waiters();
    }

    fn shut_for(&self) -> Option<Duration> {
        self.with_gate(|gate, now| gate.shut_until(now).map(|until| until.since(now)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::settlement::TripReason;

    fn budget(limits: &[&str]) -> LocalBudget {
        let limits: Vec<Limit> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
        LocalBudget::new(&limits)
    }

    /// The times of `count` permits in milliseconds, taken one after another.
    async fn permits(budget: &LocalBudget, count: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..count {
            budget.acquire().await;
            times.push(start.elapsed().as_millis());
        }
        times
    }

    fn most_in_any(window_ms: u128, times: &[u128]) -> usize {
        let within = |start: u128| {
            times.iter().filter(|&&time| time >= start && time < start + window_ms).count()
        };
        times.iter().map(|&start| within(start)).max().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_in_every_window_and_is_used() {
        let times = permits(&budget(&["200/s"]), 1_000).await;
        assert!(most_in_any(1_000, &times) <= 200);
        // 1,000 permits at 200 a second take 5 s; a tenth is the price of exactness.
        assert!(*times.last().unwrap() <= 5_500, "{:?}", times.last());
    }

    #[tokio::test(start_paused = true)]
    async fn several_limits_all_hold() {
        let times = permits(&budget(&["10/s", "60/min"]), 150).await;
        assert!(most_in_any(1_000, &times) <= 10);
        assert!(most_in_any(60_000, &times) <= 60);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        assert_eq!(permits(&budget(&[]), 1_000).await.last(), Some(&0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone_and_ends_by_itself() {
        let budget = budget(&[]);
        budget.note(&Signal::Pause(Duration::from_secs(25)));
        assert_eq!(budget.shut_for(), Some(Duration::from_secs(25)));
        assert_eq!(permits(&budget, 2).await, [25_000, 25_000]);
        assert_eq!(budget.shut_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_lets_one_probe_through_until_it_answers() {
        let budget = Arc::new(budget(&[]));
        budget.note(&Signal::Trip(TripReason::Misconfigured));
        assert_eq!(permits(&budget, 1).await, [15_000]);
        let second = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { permits(&budget, 1).await }
        });
        tokio::time::advance(Duration::from_secs(1)).await;
        budget.note(&Signal::Healthy);
        assert!(second.await.unwrap()[0] < 2_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_lets_the_next_one_through() {
        let budget = budget(&["1/s"]);
        budget.acquire().await;
        let given_up = tokio::time::timeout(Duration::from_millis(10), budget.acquire()).await;
        assert!(given_up.is_err());
        assert!(permits(&budget, 1).await[0] <= 1_000);
    }
}
