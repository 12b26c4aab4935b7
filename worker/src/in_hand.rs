//! The documents of which a worker has rescued answers in hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evergrant_shared::domain::DocumentId;

/// Which documents have an answer that this worker has taken up and not let go of: nobody is to send
/// a document's old token as long as its new one may be written at any moment. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct InHand(Arc<Mutex<HashMap<DocumentId, usize>>>);

/// An answer in hand, until this is dropped.
pub(crate) struct Held {
    in_hand: InHand,
    id: DocumentId,
}

impl InHand {
    /// Takes up an answer for a document.
    pub(crate) fn take(&self, id: DocumentId) -> Held {
        *self.answers().entry(id.clone()).or_default() += 1;
        Held { in_hand: self.clone(), id }
    }

    /// Whether there is an answer for a document.
    pub(crate) fn has(&self, id: &DocumentId) -> bool {
        self.answers().contains_key(id)
    }

    /// How many answers there are for each document; none is no entry.
    fn answers(&self) -> MutexGuard<'_, HashMap<DocumentId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut answers = self.in_hand.answers();
        if let Some(count) = answers.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                answers.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_in_hand_until_the_last_of_its_answers_is_let_go() {
        let (in_hand, id) = (InHand::default(), DocumentId::Integer(1));
        let (first, second) = (in_hand.take(id.clone()), in_hand.take(id.clone()));
        drop(first);
        assert!(in_hand.has(&id));
        drop(second);
        assert!(!in_hand.has(&id));
    }
}
