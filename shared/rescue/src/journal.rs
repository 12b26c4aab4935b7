//! The journal as the worker sees it.

use evergrant_domain::SealedAnswer;

/// Where an answer is in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalEntry(pub u64);

/// What another process left behind: an answer that it may not have committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanedAnswer {
    /// Where it is in this journal now.
    pub entry: JournalEntry,
    /// The encoded [`SealedAnswer`], or whatever is left of it.
    pub line: Vec<u8>,
}

/// What is known of a process that kept its journal here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerJournal {
    /// It lives, or nothing is known of it.
    Unknown,
    /// It has died, and what its journal held is not all written yet.
    Recovering,
    /// Its journal is here and cannot be read for now: whether it holds an answer, and to which document,
    /// nobody can tell.
    Unreadable,
    /// It has died, and answers of its journal went to the rescue queue: whether they are written nobody
    /// can tell.
    Forwarded,
    /// It has died: it does nothing any more, and every answer that it ever got is in its document.
    Drained,
}

/// A local log of answers that are not committed yet. It outlives the process, not the disk.
///
/// Its calls do not wait for a disk, so they are not `async`.
pub trait AnswerJournal: Send + Sync + 'static {
    /// Appends an answer. When this returns, the end of the process does not lose it any more.
    ///
    /// # Errors
    /// If it is full, or the file cannot be written. The answer is to be committed all the same; this
    /// process's journal is never known to be settled then.
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<JournalEntry>;

    /// Forgets an answer: it is in its document.
    fn forget(&self, entry: JournalEntry);

    /// Forgets an answer that another process left and that is in the rescue queue: that process's
    /// journal is not known to be settled any more.
    fn forward(&self, entry: JournalEntry);

    /// Takes over what processes that have ended left behind, here and now. Each entry is to be
    /// committed and forgotten. What cannot be read is passed by, and tried again at the next call.
    ///
    /// # Errors
    /// If it cannot be told what there is.
    fn adopt_orphans(&self) -> std::io::Result<Vec<OrphanedAnswer>>;

    /// What is known of the process of this name.
    fn peer_journal(&self, process: &str) -> PeerJournal;
}
