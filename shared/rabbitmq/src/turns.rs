//! Whose turn it is among the deliveries that are here already.

use std::collections::VecDeque;

/// Where a delivery comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Some worker was sent it before, and may have died over it.
    AnotherWorker,
    /// It was tried, and comes again.
    Retry,
    /// It was never tried.
    Work,
}

/// Deliveries that wait. First those that may have been left by a dead worker: the provider gives
/// a lost answer again only as long as its grace lasts. Then retries and fresh work take turns, so
/// that neither holds up the other.
#[derive(Debug)]
pub(super) struct Turns<T> {
    another_worker: VecDeque<T>,
    retry: VecDeque<T>,
    work: VecDeque<T>,
    retry_is_next: bool,
}

impl<T> Turns<T> {
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

    pub(super) fn push(&mut self, origin: Origin, delivery: T) {
        let waiting = match origin {
            Origin::AnotherWorker => &mut self.another_worker,
            Origin::Retry => &mut self.retry,
            Origin::Work => &mut self.work,
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
    fn what_a_dead_worker_may_have_left_goes_first_and_the_others_take_turns() {
        let mut turns = Turns::new();
        for (origin, name) in [
            (Origin::Work, "w1"),
            (Origin::Work, "w2"),
            (Origin::Work, "w3"),
            (Origin::Retry, "r1"),
            (Origin::Retry, "r2"),
            (Origin::AnotherWorker, "a"),
        ] {
            turns.push(origin, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, ["a", "r1", "w1", "r2", "w2", "w3"]);
        assert!(turns.is_empty());
    }
}
