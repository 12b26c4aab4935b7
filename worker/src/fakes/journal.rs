//! A journal in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use evergrant_domain::SealedAnswer;
use evergrant_rescue::{Entry, Estate, Journal, Left};

/// A journal in memory; what is in it outlives whoever wrote it.
#[derive(Default)]
pub(crate) struct FakeJournal {
    pub(crate) entries: Mutex<BTreeMap<u64, Vec<u8>>>,
    /// The process that has died.
    pub(crate) died: Mutex<Option<&'static str>>,
    /// Its journal cannot be read.
    pub(crate) unreadable: AtomicBool,
    /// What was in its journal went to the rescue queue.
    pub(crate) handed_on: AtomicBool,
    next: AtomicU32,
}

impl Journal for FakeJournal {
    fn append(&self, answer: &SealedAnswer) -> std::io::Result<Entry> {
        let entry = u64::from(self.next.fetch_add(1, Ordering::Relaxed));
        self.entries.lock().unwrap().insert(entry, answer.encode());
        Ok(Entry(entry))
    }

    fn forget(&self, entry: Entry) {
        self.entries.lock().unwrap().remove(&entry.0);
    }

    fn inherit(&self) -> std::io::Result<Vec<Left>> {
        let entries = self.entries.lock().unwrap();
        let left =
            |(&entry, line): (&u64, &Vec<u8>)| Left { entry: Entry(entry), line: line.clone() };
        Ok(entries.iter().map(left).collect())
    }

    fn hand_on(&self, entry: Entry) {
        self.forget(entry);
    }

    fn estate_of(&self, process: &str) -> Estate {
        match *self.died.lock().unwrap() == Some(process) {
            false => Estate::None,
            true if self.unreadable.load(Ordering::Relaxed) => Estate::Unreadable,
            true if self.handed_on.load(Ordering::Relaxed) => Estate::HandedOn,
            true if self.entries.lock().unwrap().is_empty() => Estate::Settled,
            true => Estate::Open,
        }
    }
}
