//! The journal file of this process: one sealed answer per line.
//!
//! Forgotten answers stay in the file until none is left, which empties it, or until they are most
//! of it: then it is replaced by a file of the remaining ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::journal::JournalEntry;
use evergrant_files::process_file;

/// The suffix of a journal.
pub(super) const SUFFIX: &str = "journal";
/// The largest size of a journal. It holds only what is under way, so it is far smaller.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A file is replaced when it has grown by this much, or by the size of what remains in it, if that
/// is more.
const REPLACED_AFTER_BYTES: u64 = 1024 * 1024;
/// The marker before the suffix of a journal that misses an answer.
const INCOMPLETE: &str = "incomplete";

/// A file that is locked while this exists, and removed with it if nothing is left in it.
pub(super) struct OwnFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    /// The entries that are not forgotten.
    lines: BTreeMap<JournalEntry, Vec<u8>>,
    lines_bytes: u64,
    /// The size at which it is replaced.
    replaced_at_bytes: u64,
}

impl OwnFile {
    /// Creates an empty file.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            file: process_file::create(&path, &[])?,
            path,
            bytes: 0,
            lines: BTreeMap::new(),
            lines_bytes: 0,
            replaced_at_bytes: REPLACED_AFTER_BYTES,
        })
    }

    /// Appends an encoded answer. If that fails, an answer is missing in the file, and other
    /// processes conclude nothing from it any more.
    pub(super) fn append(&mut self, entry: JournalEntry, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        self.write(&line).inspect_err(|_| self.mark_incomplete())?;
        self.lines_bytes += line.len() as u64;
        self.lines.insert(entry, line);
        Ok(())
    }

    /// Forgets an answer.
    pub(super) fn forget(&mut self, entry: JournalEntry) {
        let Some(line) = self.lines.remove(&entry) else { return };
        self.lines_bytes -= line.len() as u64;
        if self.lines.is_empty() && self.file.set_len(0).is_ok() {
            self.has_bytes(0);
        }
    }

    /// Writes a line with one call, so that a kill leaves all of it or nothing.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes >= self.replaced_at_bytes {
            self.replace();
        }
        let bytes = self.bytes + line.len() as u64;
        if bytes > BYTES_MAX {
            return Err(io::Error::other(format!("the journal is full: {BYTES_MAX} bytes")));
        }
        if let Err(error) = self.file.write_all(line) {
            // On a full disk, a partly written line would corrupt the next one.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes = bytes;
        Ok(())
    }

    fn replace(&mut self) {
        let left: Vec<u8> = self.lines.values().flatten().copied().collect();
        match process_file::create(&self.path, &left) {
            Ok(file) => {
                self.file = file;
                self.has_bytes(self.lines_bytes);
            }
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "cannot shrink a journal: trying again later");
                self.has_bytes(self.bytes);
            }
        }
    }

    fn has_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.replaced_at_bytes = bytes + self.lines_bytes.max(REPLACED_AFTER_BYTES);
    }

    /// Releases the lock, as when the process is killed.
    #[cfg(test)]
    pub(super) fn unlock(&self) {
        self.file.unlock().unwrap();
    }

    /// Marks the journal as incomplete, so that other processes do not trust it.
    pub(super) fn mark_incomplete(&mut self) {
        if is_incomplete(&self.path) {
            return;
        }
        let path = self.path.with_extension(format!("{INCOMPLETE}.{SUFFIX}"));
        match std::fs::rename(&self.path, &path) {
            Ok(()) => self.path = path,
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "cannot mark a journal that misses an answer as incomplete");
            }
        }
    }
}

fn is_incomplete(path: &Path) -> bool {
    path.with_extension("").extension().is_some_and(|extension| extension == INCOMPLETE)
}

impl Drop for OwnFile {
    /// An empty file needs no successor to read it.
    fn drop(&mut self) {
        if self.lines.is_empty() {
            remove(&self.path);
        }
    }
}

pub(super) fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        // Another process was faster, or it was never created.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove an obsolete journal file")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_in(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_busy_journal_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.journal");
        let mut file = OwnFile::create(path.clone()).unwrap();
        let line = "x".repeat(2_000);
        for number in 0..5_000 {
            file.append(JournalEntry(number), format!("{number} {line}").into_bytes()).unwrap();
            if number >= 2 {
                file.forget(JournalEntry(number - 2));
            }
            assert!(path.metadata().unwrap().len() < 2 * REPLACED_AFTER_BYTES);
        }
        let left = lines_in(&path);
        assert!(left.len() < 1_000, "{} lines", left.len());
        let numbers = left.iter().map(|line| line.split(' ').next().unwrap());
        assert_eq!(numbers.rev().take(2).collect::<Vec<_>>(), ["4999", "4998"]);
        assert_eq!(process_file::is_left(&path), Some(false), "it is still locked");
    }

    #[test]
    fn a_journal_that_missed_an_answer_is_renamed_and_continues() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.journal");
        let mut file = OwnFile::create(path.clone()).unwrap();
        let bytes = std::mem::replace(&mut file.bytes, BYTES_MAX);
        file.replaced_at_bytes = u64::MAX;
        assert!(file.append(JournalEntry(1), b"one".to_vec()).is_err());
        file.bytes = bytes;
        assert!(!path.exists());
        file.append(JournalEntry(2), b"two".to_vec()).unwrap();
        assert_eq!(lines_in(&folder.path().join("p.incomplete.journal")), ["two"]);
    }
}
