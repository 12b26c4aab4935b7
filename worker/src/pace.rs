//! How much a lane has in hand, as its load wants it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::concurrency::{Bounds, Concurrency, InHand};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The places of a lane: so many requests under way, so many claims ahead.
pub(crate) struct Pace {
    /// Requests under way until they are committed, and those that wait for their permit.
    pub(crate) exchanges: Places,
    /// Documents claimed and not yet sent: what waits here is hidden from other workers.
    pub(crate) ahead: Places,
    bounds: Bounds,
    concurrency: Mutex<Concurrency>,
    started: Instant,
}

impl Pace {
    /// At most `under_way` requests, at a provider that takes one every `spacing`.
    pub(crate) fn new(under_way: u16, spacing: Option<Duration>) -> Self {
        let ahead = AHEAD_BOUND.min(under_way.saturating_mul(2));
        let bounds = Bounds { under_way, ahead, spacing };
        let at_first = InHand::at_first(&bounds);
        Self {
            exchanges: Places::new(at_first.under_way),
            ahead: Places::new(at_first.ahead),
            bounds,
            concurrency: Mutex::new(Concurrency::new(Duration::ZERO)),
            started: Instant::now(),
        }
    }

    /// How many deliveries to hold: what may be claimed and what may be under way, but no more than
    /// the limit lets through in a few seconds. What waits here delays what comes after it, and a
    /// delivery that is held for half an hour is given to another worker.
    pub(crate) fn prefetch(&self, spacing: Option<Duration>) -> u16 {
        let Bounds { under_way, ahead, .. } = self.bounds;
        let most = ahead.saturating_mul(2).saturating_add(under_way);
        let held = |spacing: Duration| HELD.as_nanos() / spacing.as_nanos().max(1);
        let allowed = spacing.map_or(u128::MAX, held);
        u16::try_from(allowed).unwrap_or(u16::MAX).clamp(2, most)
    }

    /// A request is sent, at a provider that takes one every `spacing`.
    pub(crate) fn sent(&self, spacing: Option<Duration>) {
        let bounds = Bounds { spacing, ..self.bounds };
        let wanted = self.concurrency().sent(self.started.elapsed(), &bounds);
        if let Some(wanted) = wanted {
            self.exchanges.resize(wanted.under_way);
            self.ahead.resize(wanted.ahead);
        }
    }

    /// A request that was sent then is committed.
    pub(crate) fn done(&self, sent_at: Instant) {
        self.concurrency().answered(sent_at.elapsed());
    }

    fn concurrency(&self) -> MutexGuard<'_, Concurrency> {
        self.concurrency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deliveries for so long are held where there is a limit.
const HELD: Duration = Duration::from_secs(15);
/// A claim ahead of this many would only age. Half of them is a full call of the store.
const AHEAD_BOUND: u16 = 128;

/// Places that become more and fewer.
pub(crate) struct Places {
    semaphore: Arc<Semaphore>,
    size: Mutex<u16>,
}

impl Places {
    fn new(size: u16) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(usize::from(size))), size: Mutex::new(size) }
    }

    pub(crate) fn semaphore(&self) -> Arc<Semaphore> {
        Arc::clone(&self.semaphore)
    }

    /// How many are to be free before some are taken: half of them, but no more than a `batch`. One call of the
    /// store for many costs it little more than one for few, and the other half lasts meanwhile.
    pub(crate) fn enough(&self, batch: u16) -> u16 {
        (*self.size() / 2).min(batch).max(1)
    }

    fn size(&self) -> MutexGuard<'_, u16> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places that are taken go when they are free, at a later call.
    fn resize(&self, wanted: u16) {
        let mut size = self.size();
        if wanted > *size {
            self.semaphore.add_permits(usize::from(wanted - *size));
            *size = wanted;
        } else {
            let gone = self.semaphore.forget_permits(usize::from(*size - wanted));
            *size -= u16::try_from(gone).unwrap_or(*size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_held_where_little_is_sent() {
        let pace = Pace::new(256, None);
        assert_eq!(pace.prefetch(None), 512);
        assert_eq!(pace.prefetch(Some(Duration::from_millis(5))), 512);
        assert_eq!(pace.prefetch(Some(Duration::from_secs(3))), 5);
        assert_eq!(pace.prefetch(Some(Duration::from_secs(3_600))), 2);
        assert_eq!(Pace::new(6, None).prefetch(None), 30);
    }

    #[test]
    fn half_of_the_places_are_enough_to_take_some() {
        assert_eq!(Places::new(1).enough(64), 1);
        assert_eq!(Places::new(9).enough(64), 4);
        assert_eq!(Places::new(200).enough(64), 64);
    }

    #[test]
    fn places_become_more_at_once_and_fewer_as_they_are_given_back() {
        let places = Places::new(2);
        let taken = places.semaphore().try_acquire_many_owned(2).unwrap();
        places.resize(4);
        assert_eq!(places.semaphore.available_permits(), 2);
        places.resize(1);
        drop(taken);
        assert_eq!(places.semaphore.available_permits(), 2);
        places.resize(1);
        assert_eq!(places.semaphore.available_permits(), 1);
    }
}
