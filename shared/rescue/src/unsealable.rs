//! Why a sealed answer cannot be opened.

/// An answer that cannot be opened, at least for now. The error quotes nothing of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnsealableAnswer {
    /// It was sealed with an unknown key.
    #[error(
        "it was sealed with the key {key}, which is not configured: add that key to \
         rescue.old_keys, then redrive"
    )]
    UnknownKey {
        /// The key's name.
        key: String,
    },
    /// It was changed after it was sealed.
    #[error("it was changed or damaged after it was sealed: its tokens cannot be recovered")]
    Damaged,
}
