//! Limits concurrent store calls, that is claims and commits: backpressure.
//!
//! A store is not made faster by many calls at once: they wait there for each other, and what waits here
//! meanwhile makes the next call larger. So all workers together have about [`AT_ONCE`] on their way, and each
//! of them one at least.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::PollSemaphore;

/// Calls that a worker which is alone has on their way at once: while the store works on one, the other
/// is being sent or answered.
const AT_ONCE: usize = 2;

/// Limits the concurrent calls of the store. A clone is another handle of it.
#[derive(Clone)]
pub(crate) struct StoreLimiter(Arc<Semaphore>);

/// The right to make one call. Dropped, the next one has it.
pub(crate) struct StorePermit {
    _permit: OwnedSemaphorePermit,
}

impl StoreLimiter {
    /// As many as a worker has that is alone.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Waits for a permit, first come, first served.
    pub(crate) async fn next(&self) -> StorePermit {
        self.queue().next().await
    }

    /// A position in the queue that is kept while something else is waited for as well.
    pub(crate) fn queue(&self) -> PermitQueue {
        PermitQueue(PollSemaphore::new(Arc::clone(&self.0)))
    }

    /// Has as many permits as befit one of `workers`, until nobody counts them any more.
    pub(crate) async fn follow(self, mut workers: watch::Receiver<usize>) {
        let mut at_once = AT_ONCE;
        loop {
            let wanted = at_once_of(*workers.borrow_and_update());
            if wanted > at_once {
                self.0.add_permits(wanted - at_once);
            }
            for _ in wanted..at_once {
                // Waited for like any permit, unlike the permits of `flow_control`: under load none is ever free.
                if let Ok(permit) = self.0.acquire().await {
                    permit.forget();
                }
            }
            at_once = wanted;
            if workers.changed().await.is_err() {
                return;
            }
        }
    }
}

/// See [`StoreLimiter::queue`].
pub(crate) struct PermitQueue(PollSemaphore);

impl PermitQueue {
    /// Waits for a permit. If this is dropped before, the position is kept.
    pub(crate) async fn next(&mut self) -> StorePermit {
        let permit = std::future::poll_fn(|context| self.0.poll_acquire(context)).await;
        StorePermit { _permit: permit.expect("the semaphore is never closed") }
    }
}

/// Calls at once of each of so many workers.
fn at_once_of(workers: usize) -> usize {
    (AT_ONCE / workers.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn workers_share_what_is_on_its_way_and_each_has_one() {
        assert_eq!([0, 1, 2, 3, 16].map(at_once_of), [2, 2, 1, 1, 1]);
    }

    #[tokio::test]
    async fn who_learns_of_others_has_one_turn_at_once_and_two_when_they_have_gone() {
        let (counted, workers) = watch::channel(1);
        let store_limiter = StoreLimiter::new();
        tokio::spawn(store_limiter.clone().follow(workers));
        let (one, two) = (store_limiter.next().await, store_limiter.next().await);
        counted.send(4).unwrap();
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(store_limiter.next().now_or_never().is_none(), "the other one is on its way");
        drop(two);
        let one = store_limiter.next().await;
        assert!(store_limiter.next().now_or_never().is_none(), "there are others");
        counted.send(1).unwrap();
        let _two = store_limiter.next().await;
        drop(one);
    }

    #[tokio::test]
    async fn a_place_in_the_queue_outlives_the_wait_for_it() {
        let store_limiter = StoreLimiter::new();
        let (one, _two) = (store_limiter.next().await, store_limiter.next().await);
        let mut permit = store_limiter.queue();
        assert!(permit.next().now_or_never().is_none());
        let mut later = store_limiter.queue();
        assert!(later.next().now_or_never().is_none());
        drop(one);
        assert!(later.next().now_or_never().is_none(), "it is not its turn");
        assert!(permit.next().now_or_never().is_some());
    }
}
