//! The rescued answers that this worker holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::DocumentId;
use tokio::time::Instant;

/// The rescued answers that this worker holds, and since when it consumes the rescue queue. A
/// document's old token must not be sent while its new one may be written at any moment. Cheap to
/// clone.
#[derive(Clone, Default)]
pub(crate) struct RecoveredAnswers(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The number of answers for each document; never zero.
    in_hand: HashMap<DocumentId, usize>,
    /// None while this worker does not consume the rescue queue.
    served_since: Option<Instant>,
}

/// A rescued answer that is held until this is dropped.
pub(crate) struct RecoveryGuard {
    recovered: RecoveredAnswers,
    id: DocumentId,
}

/// A consumer of the rescue queue, until this is dropped.
pub(crate) struct ConsumerGuard(RecoveredAnswers);

impl RecoveredAnswers {
    /// Registers an answer for a document.
    pub(crate) fn take(&self, id: DocumentId) -> RecoveryGuard {
        *self.state().in_hand.entry(id.clone()).or_default() += 1;
        RecoveryGuard { recovered: self.clone(), id }
    }

    /// Whether an answer for a document is held.
    pub(crate) fn has(&self, id: &DocumentId) -> bool {
        self.state().in_hand.contains_key(id)
    }

    /// Notes that this worker consumes the rescue queue from now on.
    pub(crate) fn serve(&self) -> ConsumerGuard {
        self.state().served_since = Some(Instant::now());
        ConsumerGuard(self.clone())
    }

    /// Whether this worker has consumed the rescue queue for at least `span`, without a break.
    pub(crate) fn is_served_for(&self, span: Duration) -> bool {
        self.state().served_since.is_some_and(|since| since.elapsed() >= span)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RecoveryGuard {
    fn drop(&mut self) {
        let mut state = self.recovered.state();
        if let Some(count) = state.in_hand.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.in_hand.remove(&self.id);
            }
        }
    }
}

impl Drop for ConsumerGuard {
    fn drop(&mut self) {
        self.0.state().served_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_held_until_its_last_answer_is_released() {
        let (recovered, id) = (RecoveredAnswers::default(), DocumentId::Integer(1));
        let (first, second) = (recovered.take(id.clone()), recovered.take(id.clone()));
        drop(first);
        assert!(recovered.has(&id));
        drop(second);
        assert!(!recovered.has(&id));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rescue_queue_is_served_while_a_consumer_lives() {
        let (recovered, span) = (RecoveredAnswers::default(), Duration::from_secs(2));
        let serving = recovered.serve();
        assert!(!recovered.is_served_for(span));
        tokio::time::advance(span).await;
        assert!(recovered.is_served_for(span));
        drop(serving);
        assert!(!recovered.is_served_for(span));
    }
}
