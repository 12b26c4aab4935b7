//! What a worker knows of rescued answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_domain::DocumentId;
use tokio::time::Instant;

/// The rescued answers that this worker has taken up and not let go of, and since when others come to
/// it. Nobody is to send a document's old token as long as its new one may be written at any moment.
/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Rescues(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How many answers there are for each document; none is no entry.
    in_hand: HashMap<DocumentId, usize>,
    /// None while the rescue queue is not consumed here.
    served_since: Option<Instant>,
}

/// An answer in hand, until this is dropped.
pub(crate) struct Held {
    rescues: Rescues,
    id: DocumentId,
}

/// A consumer of the rescue queue, until this is dropped.
pub(crate) struct Serving(Rescues);

impl Rescues {
    /// Takes up an answer for a document.
    pub(crate) fn take(&self, id: DocumentId) -> Held {
        *self.state().in_hand.entry(id.clone()).or_default() += 1;
        Held { rescues: self.clone(), id }
    }

    /// Whether there is an answer for a document in hand.
    pub(crate) fn has(&self, id: &DocumentId) -> bool {
        self.state().in_hand.contains_key(id)
    }

    /// From now on the rescue queue is consumed here.
    pub(crate) fn serve(&self) -> Serving {
        self.state().served_since = Some(Instant::now());
        Serving(self.clone())
    }

    /// Whether the rescue queue has been consumed here for so long, without a break.
    pub(crate) fn is_served_for(&self, span: Duration) -> bool {
        self.state().served_since.is_some_and(|since| since.elapsed() >= span)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.rescues.state();
        if let Some(count) = state.in_hand.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                state.in_hand.remove(&self.id);
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.state().served_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_in_hand_until_the_last_of_its_answers_is_let_go() {
        let (rescues, id) = (Rescues::default(), DocumentId::Integer(1));
        let (first, second) = (rescues.take(id.clone()), rescues.take(id.clone()));
        drop(first);
        assert!(rescues.has(&id));
        drop(second);
        assert!(!rescues.has(&id));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rescue_queue_is_served_from_the_begin_of_a_consumer_to_its_end() {
        let (rescues, span) = (Rescues::default(), Duration::from_secs(2));
        let serving = rescues.serve();
        assert!(!rescues.is_served_for(span));
        tokio::time::advance(span).await;
        assert!(rescues.is_served_for(span));
        drop(serving);
        assert!(!rescues.is_served_for(span));
    }
}
