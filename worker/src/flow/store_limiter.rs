//! Limits concurrent store calls (claims and commits): backpressure.
//!
//! Many concurrent calls do not make a store faster; they only wait there for each other. What
//! waits here makes the next call larger. So all workers together have about [`AT_ONCE`] calls
//! under way, and each worker has at least one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::PollSemaphore;

/// Concurrent calls of a worker that is alone: the store works on one while the other travels.
const AT_ONCE: usize = 2;

/// Limits concurrent store calls. Clones share the limit.
#[derive(Clone)]
pub(crate) struct StoreLimiter(Arc<Semaphore>);

/// The right to make one store call. Dropping it passes the right on.
pub(crate) struct StorePermit {
    _permit: OwnedSemaphorePermit,
}

impl StoreLimiter {
    /// The limit of a worker that is alone.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Waits for a permit, in the order of arrival.
    pub(crate) async fn next(&self) -> StorePermit {
        self.queue().next().await
    }

    /// A position in the queue that survives waiting for something else at the same time.
    pub(crate) fn queue(&self) -> PermitQueue {
        PermitQueue(PollSemaphore::new(Arc::clone(&self.0)))
    }

    /// Adapts the limit to the number of workers, until the sender is gone.
    pub(crate) async fn follow(self, mut workers: watch::Receiver<usize>) {
        let mut at_once = AT_ONCE;
        loop {
            let wanted = at_once_of(*workers.borrow_and_update());
            if wanted > at_once {
                self.0.add_permits(wanted - at_once);
            }
            for _ in wanted..at_once {
                // Waits like any other caller: under load no permit is ever free, so `try_acquire`
                // would fail.
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
    /// Waits for a permit. If this future is dropped, the position in the queue is kept.
    pub(crate) async fn next(&mut self) -> StorePermit {
        let permit = std::future::poll_fn(|context| self.0.poll_acquire(context)).await;
        StorePermit { _permit: permit.expect("the semaphore is never closed") }
    }
}

/// Concurrent calls of each of so many workers.
fn at_once_of(workers: usize) -> usize {
    (AT_ONCE / workers.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn workers_share_the_store_permits_and_each_has_one() {
        assert_eq!([0, 1, 2, 3, 16].map(at_once_of), [2, 2, 1, 1, 1]);
    }

    #[tokio::test]
    async fn a_worker_has_one_permit_beside_others_and_two_alone() {
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
    async fn a_queue_position_survives_a_dropped_wait() {
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
