//! The answer journal: a write-ahead journal for sealed answers, as the worker sees it.

use evergrant_domain::SealedAnswer;

/// The position of an answer in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JournalEntry(pub u64);

/// An answer that another process left behind and may not have committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanedAnswer {
    /// Its position in this journal now.
    pub entry: JournalEntry,
    /// The encoded [`SealedAnswer`], or what remains of it.
    pub line: Vec<u8>,
}

/// What is known about a process with a journal on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerJournal {
    /// It lives, or nothing is known about it.
    Unknown,
    /// It has died, and not all answers of its journal are written yet.
    Recovering,
    /// Its journal is on this machine but cannot be read now: it may hold an answer for any
    /// document.
    Unreadable,
    /// It has died, and answers of its journal went to the rescue queue: it is unknown whether they
    /// are written.
    Forwarded,
    /// It has died, and every answer that it ever received is in its document.
    Drained,
}

/// A local journal of answers that are not committed yet. It survives the process, but not the
/// disk.
///
/// Its calls do not wait for a disk, so they are not `async`.
pub trait AnswerJournal: Send + Sync + 'static {
    /// Appends an answer. When this returns, the answer survives the end of the process.
    ///
    /// # Errors
    /// If the journal is full, or the file cannot be written. The answer is to be committed all the
    /// same, and this process's journal never counts as drained then.
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<JournalEntry>;

    /// Removes an answer that is in its document.
    fn forget(&self, entry: JournalEntry);

    /// Removes an answer of another process that is in the rescue queue. That process's journal
    /// then does not count as drained any more.
    fn forward(&self, entry: JournalEntry);

    /// Adopts the answers of processes that have ended. Each entry is to be committed and
    /// forgotten. What cannot be read is skipped and retried at the next call.
    ///
    /// # Errors
    /// If the folder cannot be read.
    fn adopt_orphans(&self) -> std::io::Result<Vec<OrphanedAnswer>>;

    /// What is known about the process of this name.
    fn peer_journal(&self, process: &str) -> PeerJournal;
}
