//! A store's private note about a claimed document.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A note that a store makes at a claim and gets back with the commit. Only that store can read it.
/// None for a commit that does not come from a claim, such as one from a journal.
#[derive(Clone, Default)]
pub struct ClaimNote(Option<Arc<dyn Any + Send + Sync>>);

impl ClaimNote {
    /// A note in a store's own form.
    pub fn new(note: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(note)))
    }

    /// The note, if it has this type.
    pub fn read<T: Any>(&self) -> Option<&T> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for ClaimNote {
    /// Prints nothing of the note, whose content only its store knows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ClaimNote" } else { "no ClaimNote" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_by_its_own_type_only() {
        let note = ClaimNote::new("s3cret".to_owned());
        assert_eq!(note.read::<String>().map(String::as_str), Some("s3cret"));
        assert!(note.read::<u32>().is_none() && ClaimNote::default().read::<String>().is_none());
        assert!(!format!("{note:?}").contains("s3cret"));
    }
}
