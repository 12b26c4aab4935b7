//! Flow control: how many claims and requests a lane has under way. The limits follow its load
//! (backpressure).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::concurrency::{ConcurrencyBounds, ConcurrencyEstimate, ConcurrencyTarget};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The permits of a lane: for requests under way, and for documents claimed ahead.
pub(crate) struct FlowControl {
    /// Requests under way until they are committed, including those that wait for the budget.
    pub(crate) exchanges: ResizableSemaphore,
    /// Documents that are claimed but not yet sent. They are hidden from other workers.
    pub(crate) ahead: ResizableSemaphore,
    bounds: ConcurrencyBounds,
    concurrency: Mutex<ConcurrencyEstimate>,
    started: Instant,
}

impl FlowControl {
    /// Permits for at most `under_way` requests to a provider that takes one every `spacing`.
    pub(crate) fn new(under_way: u16, spacing: Option<Duration>) -> Self {
        let ahead = AHEAD_MAX.min(under_way.saturating_mul(2));
        let bounds = ConcurrencyBounds { under_way, ahead, spacing };
        let at_first = ConcurrencyTarget::at_first(&bounds);
        Self {
            exchanges: ResizableSemaphore::new(at_first.under_way),
            ahead: ResizableSemaphore::new(at_first.ahead),
            bounds,
            concurrency: Mutex::new(ConcurrencyEstimate::new(Duration::ZERO)),
            started: Instant::now(),
        }
    }

    /// How many deliveries to prefetch: those that may be claimed or under way, but no more than
    /// the rate limit admits in a few seconds. Prefetched deliveries delay later ones, and the
    /// broker redelivers one that is held for half an hour.
    pub(crate) fn prefetch(&self, spacing: Option<Duration>) -> u16 {
        let ConcurrencyBounds { under_way, ahead, .. } = self.bounds;
        let most = ahead.saturating_mul(2).saturating_add(under_way);
        let held = |spacing: Duration| PREFETCH_HOLD_MAX.as_nanos() / spacing.as_nanos().max(1);
        let allowed = spacing.map_or(u128::MAX, held);
        u16::try_from(allowed).unwrap_or(u16::MAX).clamp(2, most)
    }

    /// Notes that a request is sent to a provider that takes one every `spacing`.
    pub(crate) fn sent(&self, spacing: Option<Duration>) {
        let bounds = ConcurrencyBounds { spacing, ..self.bounds };
        let wanted = self.concurrency().sent(self.started.elapsed(), &bounds);
        if let Some(wanted) = wanted {
            self.exchanges.resize(wanted.under_way);
            self.ahead.resize(wanted.ahead);
        }
    }

    /// Notes that the outcome of a request sent at `sent_at` is committed.
    pub(crate) fn done(&self, sent_at: Instant) {
        self.concurrency().answered(sent_at.elapsed());
    }

    fn concurrency(&self) -> MutexGuard<'_, ConcurrencyEstimate> {
        self.concurrency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest time for which deliveries wait here under a rate limit.
const PREFETCH_HOLD_MAX: Duration = Duration::from_secs(15);
/// More claims ahead would only age. Half of this is one full store call.
const AHEAD_MAX: u16 = 128;

/// A semaphore with a variable size.
pub(crate) struct ResizableSemaphore {
    semaphore: Arc<Semaphore>,
    size: Mutex<u16>,
}

impl ResizableSemaphore {
    fn new(size: u16) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(usize::from(size))), size: Mutex::new(size) }
    }

    pub(crate) fn semaphore(&self) -> Arc<Semaphore> {
        Arc::clone(&self.semaphore)
    }

    /// How many permits must be free before some are taken: half of them, at most `batch`. One
    /// store call for many documents costs little more than one for few, and the other half keeps
    /// the lane busy meanwhile.
    pub(crate) fn enough(&self, batch: u16) -> u16 {
        (*self.size() / 2).min(batch).max(1)
    }

    fn size(&self) -> MutexGuard<'_, u16> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Permits in use are removed when they are free, at a later call.
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
        let flow = FlowControl::new(256, None);
        assert_eq!(flow.prefetch(None), 512);
        assert_eq!(flow.prefetch(Some(Duration::from_millis(5))), 512);
        assert_eq!(flow.prefetch(Some(Duration::from_secs(3))), 5);
        assert_eq!(flow.prefetch(Some(Duration::from_secs(3_600))), 2);
        assert_eq!(FlowControl::new(6, None).prefetch(None), 30);
    }

    #[test]
    fn half_of_the_permits_suffice_for_a_batch() {
        assert_eq!(ResizableSemaphore::new(1).enough(64), 1);
        assert_eq!(ResizableSemaphore::new(9).enough(64), 4);
        assert_eq!(ResizableSemaphore::new(200).enough(64), 64);
    }

    #[test]
    fn permits_grow_at_once_and_shrink_as_they_return() {
        let places = ResizableSemaphore::new(2);
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
