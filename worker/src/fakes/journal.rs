//! A journal in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use evergrant_domain::SealedAnswer;
use evergrant_rescue::{AnswerJournal, JournalEntry, OrphanedAnswer, PeerJournal};

/// A journal in memory. Its entries outlive their writer.
#[derive(Default)]
pub(crate) struct FakeJournal {
    pub(crate) entries: Mutex<BTreeMap<u64, Vec<u8>>>,
    /// The process that has died.
    pub(crate) died: Mutex<Option<&'static str>>,
    /// Whether its journal cannot be read.
    pub(crate) unreadable: AtomicBool,
    /// Whether its entries went to the rescue queue.
    pub(crate) handed_on: AtomicBool,
    next: AtomicU32,
}

impl AnswerJournal for FakeJournal {
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<JournalEntry> {
        let entry = u64::from(self.next.fetch_add(1, Ordering::Relaxed));
        self.entries.lock().unwrap().insert(entry, answer.encode());
        Ok(JournalEntry(entry))
    }

    fn forget(&self, entry: JournalEntry) {
        self.entries.lock().unwrap().remove(&entry.0);
    }

    fn adopt_orphans(&self) -> std::io::Result<Vec<OrphanedAnswer>> {
        let entries = self.entries.lock().unwrap();
        let left = |(&entry, line): (&u64, &Vec<u8>)| OrphanedAnswer {
            entry: JournalEntry(entry),
            line: line.clone(),
        };
        Ok(entries.iter().map(left).collect())
    }

    fn forward(&self, entry: JournalEntry) {
        self.forget(entry);
    }

    fn peer_journal(&self, process: &str) -> PeerJournal {
        match *self.died.lock().unwrap() == Some(process) {
            false => PeerJournal::Unknown,
            true if self.unreadable.load(Ordering::Relaxed) => PeerJournal::Unreadable,
            true if self.handed_on.load(Ordering::Relaxed) => PeerJournal::Forwarded,
            true if self.entries.lock().unwrap().is_empty() => PeerJournal::Drained,
            true => PeerJournal::Recovering,
        }
    }
}
