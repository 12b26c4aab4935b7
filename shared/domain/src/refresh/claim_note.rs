//! What a store notes of a document when it is claimed.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What a store notes of a document when it is claimed, and gets back with the commit. Nobody else can
/// look into it. None for what comes by another way than a claim, a journal say.
#[derive(Clone, Default)]
pub struct ClaimNote(Option<Arc<dyn Any + Send + Sync>>);

impl ClaimNote {
    /// A note in a store's own form.
    pub fn new(note: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(note)))
    }

    /// The note, if there is one of this form.
    pub fn read<T: Any>(&self) -> Option<&T> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for ClaimNote {
    /// Nothing of the note: only its store knows what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ClaimNote" } else { "no ClaimNote" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_in_the_form_that_it_was_made_in() {
        let note = ClaimNote::new("s3cret".to_owned());
        assert_eq!(note.read::<String>().map(String::as_str), Some("s3cret"));
        assert!(note.read::<u32>().is_none() && ClaimNote::default().read::<String>().is_none());
        assert!(!format!("{note:?}").contains("s3cret"));
    }
}
