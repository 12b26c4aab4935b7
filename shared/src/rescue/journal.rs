//! The journal as the worker sees it.

use crate::domain::SealedAnswer;

/// Where an answer is in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry(pub u64);

/// What another process left behind: an answer that it may not have committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Where it is in this journal now.
    pub entry: Entry,
    /// The encoded [`SealedAnswer`], or whatever is left of it.
    pub line: Vec<u8>,
}

/// A local log of answers that are not committed yet. It outlives the process, not the disk.
///
/// Its calls do not wait for a disk, so they are not `async`.
pub trait Journal: Send + Sync + 'static {
    /// Appends an answer. When this returns, the end of the process does not lose it any more.
    ///
    /// # Errors
    /// If it is full, or the file cannot be written. The answer is to be committed all the same.
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<Entry>;

    /// Forgets an answer: it is in its document, or in the rescue queue.
    fn forget(&self, entry: Entry);

    /// Takes over what processes that have ended left behind, here and now. Each entry is to be
    /// committed and forgotten.
    ///
    /// # Errors
    /// If a file cannot be read.
    fn inherit(&self) -> std::io::Result<Vec<Left>>;

    /// Whether the process of this name kept its journal here and has died: then it does nothing any
    /// more, and what it had received is what [`Self::inherit`] returns, here or elsewhere. False if
    /// that is not known.
    fn has_died(&self, process: &str) -> bool;
}
