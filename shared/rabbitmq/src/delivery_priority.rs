//! The priority of deliveries that have already arrived, without head-of-line blocking.

use std::collections::VecDeque;

/// The origin of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryOrigin {
    /// A worker got it before, and may have died.
    AnotherWorker,
    /// A retry.
    Retry,
    /// A new job.
    Work,
}

/// Deliveries that wait. Those that a dead worker may have left come first, because the provider
/// repeats a lost answer only within its grace. Then retries and new jobs alternate, so that
/// neither delays the other.
#[derive(Debug)]
pub(super) struct DeliveryPriority<T> {
    another_worker: VecDeque<T>,
    retry: VecDeque<T>,
    work: VecDeque<T>,
    retry_is_next: bool,
}

impl<T> DeliveryPriority<T> {
    pub(super) const fn new() -> Self {
        Self {
            another_worker: VecDeque::new(),
            retry: VecDeque::new(),
            work: VecDeque::new(),
            retry_is_next: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.another_worker.is_empty() && self.retry.is_empty() && self.work.is_empty()
    }

    pub(super) fn push(&mut self, origin: DeliveryOrigin, delivery: T) {
        let waiting = match origin {
            DeliveryOrigin::AnotherWorker => &mut self.another_worker,
            DeliveryOrigin::Retry => &mut self.retry,
            DeliveryOrigin::Work => &mut self.work,
        };
        waiting.push_back(delivery);
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        self.another_worker.pop_front().or_else(|| {
            self.retry_is_next = !self.retry_is_next;
            match self.retry_is_next {
                true => self.retry.pop_front().or_else(|| self.work.pop_front()),
                false => self.work.pop_front().or_else(|| self.retry.pop_front()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redelivered_jobs_go_first_and_the_others_alternate() {
        let mut turns = DeliveryPriority::new();
        for (origin, name) in [
            (DeliveryOrigin::Work, "w1"),
            (DeliveryOrigin::Work, "w2"),
            (DeliveryOrigin::Work, "w3"),
            (DeliveryOrigin::Retry, "r1"),
            (DeliveryOrigin::Retry, "r2"),
            (DeliveryOrigin::AnotherWorker, "a"),
        ] {
            turns.push(origin, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, ["a", "r1", "w1", "r2", "w2", "w3"]);
        assert!(turns.is_empty());
    }
}
