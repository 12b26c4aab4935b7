//! The hash chain of the audit record: each entry holds a hash of itself and of the entry before
//! it, so that a check finds changed and removed entries. The chain has no secret key: a person who
//! can write the record can also write a new chain. A hash that is kept elsewhere detects that.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::audit::{ActionProgress, AuditEntry, OperatorAction};
use crate::{DocumentId, ProviderId, Timestamp};

/// Separates these hashes from hashes of anything else (domain separation).
const ENTRY: &[u8] = b"evergrant: audit entry, 1";
const PROGRESS: &[u8] = b"evergrant: audit progress, 1";

/// An entry's link in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLink {
    /// The entry's number; the first is 1.
    pub number: u64,
    /// The hash of the entry before; empty for the first.
    pub previous: String,
    /// The hash of the entry as it began, including its number and `previous`.
    pub hash: String,
}

/// What the hash covers: all that never changes.
#[derive(Serialize)]
struct Content<'a> {
    number: u64,
    previous: &'a str,
    id: &'a str,
    at: Timestamp,
    who: &'a str,
    action: OperatorAction,
    provider: Option<&'a ProviderId>,
    document: Option<&'a DocumentId>,
    request: &'a serde_json::Value,
    why: &'a str,
}

impl ChainLink {
    /// The link of `entry` after `last`.
    pub(super) fn new(entry: &AuditEntry, last: Option<&Self>) -> Self {
        let number = last.map_or(1, |last| last.number + 1);
        let previous = last.map_or("", |last| last.hash.as_str()).to_owned();
        let hash = hash_of(entry, number, &previous);
        Self { number, previous, hash }
    }
}

fn hash_of(entry: &AuditEntry, number: u64, previous: &str) -> String {
    let content = Content {
        number,
        previous,
        id: &entry.id,
        at: entry.at,
        who: &entry.who,
        action: entry.action,
        provider: entry.provider.as_ref(),
        document: entry.document.as_ref(),
        request: &entry.request,
        why: &entry.why,
    };
    // Text and numbers can always be written as JSON.
    digest(ENTRY, &serde_json::to_vec(&content).unwrap_or_default())
}

fn digest(domain: &[u8], content: &[u8]) -> String {
    let mut hash = Sha256::new_with_prefix(domain);
    hash.update(content);
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The stored progress of an action, with a digest that binds it to its entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProgress {
    #[serde(flatten)]
    progress: ActionProgress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl StoredProgress {
    /// The progress of the entry `id`.
    pub fn new(id: &str, progress: &ActionProgress) -> Self {
        Self { progress: progress.clone(), digest: Some(progress_digest(id, progress)) }
    }

    /// The entry with this progress.
    pub fn put_into(self, entry: AuditEntry, told_at: Timestamp) -> AuditEntry {
        AuditEntry { progress: self.progress, progress_digest: self.digest, told_at, ..entry }
    }
}

fn progress_digest(id: &str, progress: &ActionProgress) -> String {
    digest(PROGRESS, &serde_json::to_vec(&(id, progress)).unwrap_or_default())
}

/// A difference between the chain and what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "flaw")]
pub enum ChainFlaw {
    /// Entries are missing.
    Removed {
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// An entry was changed or replaced.
    Changed {
        /// Its number.
        number: u64,
        /// Its id.
        id: String,
    },
    /// An action's outcome was changed.
    OutcomeChanged {
        /// Its number.
        number: u64,
        /// Its id.
        id: String,
    },
}

impl std::fmt::Display for ChainFlaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Removed { from, to } if from == to => write!(f, "the entry {from} was removed"),
            Self::Removed { from, to } => write!(f, "the entries {from} to {to} were removed"),
            Self::Changed { number, id } => {
                write!(f, "the entry {number} ({id}) was changed or replaced")
            }
            Self::OutcomeChanged { number, id } => {
                write!(f, "the outcome of the entry {number} ({id}) was changed")
            }
        }
    }
}

/// Checks the chain, entry by entry.
#[derive(Debug, Default)]
pub struct ChainCheck {
    /// The last link, and the id of its entry.
    last: Option<(ChainLink, String)>,
    entries: u64,
    flaws: Vec<ChainFlaw>,
}

impl ChainCheck {
    /// Checks the next entry, in the order of numbers.
    pub fn add(&mut self, entry: &AuditEntry) {
        let Some(link) = &entry.link else { return };
        self.entries += 1;
        let expected = self.last.as_ref().map_or(1, |(last, _)| last.number + 1);
        let previous = self.last.as_ref().map_or("", |(last, _)| last.hash.as_str());
        if link.number > expected {
            self.flaws.push(ChainFlaw::Removed { from: expected, to: link.number - 1 });
        } else if link.previous != previous {
            // Its own hash matches its content, but the next entry has another one.
            let (number, id) = match &self.last {
                Some((last, id)) => (last.number, id.clone()),
                None => (link.number, entry.id.clone()),
            };
            self.add_change(number, id);
        }
        if link.hash != hash_of(entry, link.number, &link.previous) {
            self.add_change(link.number, entry.id.clone());
        } else if entry.progress_digest != Some(progress_digest(&entry.id, &entry.progress)) {
            let (number, id) = (link.number, entry.id.clone());
            self.flaws.push(ChainFlaw::OutcomeChanged { number, id });
        }
        self.last = Some((link.clone(), entry.id.clone()));
    }

    fn add_change(&mut self, number: u64, id: String) {
        let flaw = ChainFlaw::Changed { number, id };
        if self.flaws.last() != Some(&flaw) {
            self.flaws.push(flaw);
        }
    }

    /// How many entries were checked.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// The last link, if there is one.
    pub fn last(&self) -> Option<&ChainLink> {
        self.last.as_ref().map(|(link, _)| link)
    }

    /// The flaws, in order.
    pub fn flaws(&self) -> &[ChainFlaw] {
        &self.flaws
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{ActionIntent, ActionOutcome};

    fn chain(length: i64) -> Vec<AuditEntry> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        for at_ms in 0..length {
            let intent = ActionIntent {
                who: "ann@host".to_owned(),
                action: OperatorAction::Export,
                provider: None,
                document: None,
                request: serde_json::json!({ "file": at_ms }),
                why: String::new(),
            };
            let last = entries.last().and_then(|entry| entry.link.clone());
            let entry = AuditEntry::begin(
                at_ms.to_string(),
                intent,
                Timestamp::from_unix_ms(at_ms),
                last.as_ref(),
            );
            let progress =
                ActionProgress { outcome: ActionOutcome::Done, ..ActionProgress::default() };
            let stored = StoredProgress::new(&entry.id, &progress);
            entries.push(stored.put_into(entry, Timestamp::default()));
        }
        entries
    }

    fn flaws(entries: &[AuditEntry]) -> Vec<String> {
        let mut check = ChainCheck::default();
        entries.iter().for_each(|entry| check.add(entry));
        check.flaws().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_stored_chain_has_no_flaws() {
        let stored: Vec<AuditEntry> = chain(5)
            .iter()
            .map(|entry| {
                let read = serde_json::from_str(&serde_json::to_string(entry).unwrap()).unwrap();
                let progress = StoredProgress::new(&entry.id, &entry.progress);
                let progress = serde_json::to_string(&progress).unwrap();
                let progress: StoredProgress = serde_json::from_str(&progress).unwrap();
                progress.put_into(read, entry.told_at)
            })
            .collect();
        assert_eq!(flaws(&stored), [""; 0]);
        assert_eq!(stored[4].link.as_ref().unwrap().number, 5);
    }

    #[test]
    fn an_entry_that_was_removed_is_found() {
        let whole = chain(5);
        assert_eq!(flaws(&[&whole[..2], &whole[3..]].concat()), ["the entry 3 was removed"]);
        assert_eq!(flaws(&whole[2..]), ["the entries 1 to 2 were removed"]);
    }

    #[test]
    fn a_changed_entry_is_found() {
        let mut changed = chain(5);
        changed[1].who = "somebody else".to_owned();
        let told = format!("the entry 2 ({}) was changed or replaced", changed[1].id);
        assert_eq!(flaws(&changed), std::slice::from_ref(&told));
        // With a matching hash: the next entry still has the old one.
        let last = changed[0].link.clone();
        changed[1].link = Some(ChainLink::new(&changed[1], last.as_ref()));
        assert_eq!(flaws(&changed), [told]);
    }

    #[test]
    fn an_outcome_that_was_changed_is_found() {
        let mut changed = chain(3);
        changed[2].progress.done = 7;
        let told = format!("the outcome of the entry 3 ({}) was changed", changed[2].id);
        assert_eq!(flaws(&changed), [told]);
    }
}
