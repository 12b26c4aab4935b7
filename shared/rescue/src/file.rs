//! The answer journal in a folder: a write-ahead journal with one file for each process, locked
//! while the process lives.
//!
//! The kernel keeps written data when the process is killed, so nothing is synchronized to the
//! disk; the rescue queue covers power failures.
//!
//! When a process has died and its journal is adopted, the adopter holds the lock. So an empty file
//! beside the journal records the death. It remains when the journal is gone, under another name if
//! a part went to the rescue queue. A journal that missed an answer has another name, so that
//! nothing is concluded from it; and so has one from before the machine's start, which a power
//! failure may have emptied.
//!
//! A journal that cannot be read now is skipped and retried at the next scan, so that other
//! journals do not wait for it. Its process may have left an answer to any document.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::journal::{AnswerJournal, JournalEntry, OrphanedAnswer, PeerJournal};
use super::own_file::{OwnFile, SUFFIX, remove};
use evergrant_domain::SealedAnswer;
use evergrant_domain::sealed_answer::SEALED_ANSWER_BYTES_MAX;
use evergrant_files::{private_file, process_file};

/// The suffix of a file that records that a process has died and its journal was adopted.
const DIED: &str = "died";
/// The suffix of a file that records that answers of such a journal went to the rescue queue.
const HANDED_ON: &str = "handed-on";
/// The suffix of a file that a process is about to rename.
const NEW: &str = "new";
/// How long dead processes are remembered: longer than a lease.
const PEER_TTL: Duration = Duration::from_secs(3_600);

/// A journal in a folder that other processes of this machine may share.
pub struct FileJournal {
    folder: PathBuf,
    boot: String,
    state: Mutex<State>,
}

struct State {
    own: OwnFile,
    /// Adopted files, and how many of their entries remain.
    inherited: HashMap<u64, OrphanedFile>,
    /// The adopted file of each entry.
    files: HashMap<JournalEntry, u64>,
    /// Journals that could not be read at the last scan.
    unreadable: HashSet<PathBuf>,
    next: u64,
}

/// The file of a dead process. Its lock is held while this exists.
struct OrphanedFile {
    path: PathBuf,
    left: u64,
    /// Whether every entry so far is written to its document.
    settled: bool,
    _lock: File,
}

impl FileJournal {
    /// A journal in `folder`, which is created if needed, for the process `name`.
    ///
    /// # Errors
    /// If the folder cannot be created or written.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        private_file::create_folder(folder)?;
        let boot = boot();
        let path = journal_of(folder, name, &boot);
        let state = State {
            own: OwnFile::create(path)?,
            inherited: HashMap::new(),
            files: HashMap::new(),
            unreadable: HashSet::new(),
            next: 0,
        };
        Ok(Self { folder: folder.to_owned(), boot, state: Mutex::new(state) })
    }

    fn with_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AnswerJournal for FileJournal {
    fn append(&self, answer: &SealedAnswer) -> io::Result<JournalEntry> {
        let line = answer.encode();
        self.with_state(|state| {
            let entry = state.new_entry();
            state.own.append(entry, line).map(|()| entry)
        })
    }

    fn forget(&self, entry: JournalEntry) {
        self.with_state(|state| state.forget(entry, true));
    }

    fn forward(&self, entry: JournalEntry) {
        self.with_state(|state| state.forget(entry, false));
    }

    fn adopt_orphans(&self) -> io::Result<Vec<OrphanedAnswer>> {
        let mut left = Vec::new();
        for found in std::fs::read_dir(&self.folder)? {
            // The rest of the folder is read at the next scan.
            let Ok(found) = found else { break };
            let path = found.path();
            let is = |suffix| path.extension().is_some_and(|extension| extension == suffix);
            if is(DIED) || is(HANDED_ON) || is(NEW) {
                if is_long_ago(&path) {
                    remove(&path);
                }
            } else if is(SUFFIX) {
                left.extend(self.adopt_orphans_of(path));
            }
        }
        Ok(left)
    }

    fn peer_journal(&self, process: &str) -> PeerJournal {
        let journal = journal_of(&self.folder, process, &self.boot);
        if self.with_state(|state| state.unreadable.contains(&journal)) {
            return PeerJournal::Unreadable;
        }
        let is_left = process_file::is_left(&journal);
        match (is_left, journal.with_extension(DIED).exists()) {
            (None, true) => PeerJournal::Drained,
            (Some(true), _) | (Some(false), true) => PeerJournal::Recovering,
            (None, false) if journal.with_extension(HANDED_ON).exists() => PeerJournal::Forwarded,
            (None | Some(false), false) => PeerJournal::Unknown,
        }
    }
}

impl FileJournal {
    /// The answers in one file, if its process has died. A file that cannot be read is logged once,
    /// until that changes.
    fn adopt_orphans_of(&self, path: PathBuf) -> Vec<OrphanedAnswer> {
        let read = Self::read_left(&path);
        self.with_state(|state| match read {
            Ok(None) => {
                state.unreadable.remove(&path);
                Vec::new()
            }
            Ok(Some((file, lines))) => {
                state.unreadable.remove(&path);
                state.adopt(path, file, lines)
            }
            Err(error) => {
                if state.unreadable.insert(path.clone()) {
                    tracing::error!(path = %path.display(), %error, "cannot read this journal, which may \
                        hold answers of a worker that died: make it readable for this user, or move it away \
                        if it is not a journal; trying again");
                }
                Vec::new()
            }
        })
    }

    /// The lines of a dead process's file, and the file itself, locked.
    fn read_left(path: &Path) -> io::Result<Option<(File, Vec<Vec<u8>>)>> {
        let Some(file) = unowned(path)? else { return Ok(None) };
        // Before anything else, because the lock will look like that of a living process. A full
        // disk must not keep answers from their documents.
        if let Err(error) = File::create(path.with_extension(DIED)) {
            tracing::warn!(path = %path.display(), %error, "cannot record that this journal's process has \
                died, so its leases only end when their time runs out: is the disk full?");
        }
        let lines = read_lines(&file)?;
        Ok(Some((file, lines)))
    }
}

fn journal_of(folder: &Path, process: &str, boot: &str) -> PathBuf {
    folder.join(format!("{process}.{boot}.{SUFFIX}"))
}

/// Identifies this boot of the machine. A random value if the system has no identifier: then no
/// process learns of another's end.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    if id.is_empty() { uuid::Uuid::new_v4().simple().to_string() } else { id }
}

/// Whether nothing is leased any more by a process that this file records as dead, or that did not
/// get to rename it.
fn is_long_ago(path: &Path) -> bool {
    let at = path.metadata().and_then(|found| found.modified());
    at.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > PEER_TTL))
}

/// The file, locked, if its process has died. A process that lives holds the lock.
fn unowned(path: &Path) -> io::Result<Option<File>> {
    let opened = path.metadata().and_then(|found| match found.is_file() {
        true => File::open(path),
        // Opening a pipe would block until there is a writer.
        false => Err(io::Error::other("it is not a regular file")),
    });
    let file = match opened {
        Ok(file) => file,
        // Another process was faster and has finished it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        // The name may have disappeared between the two steps, or belong to another file by now;
        // then nothing is left in this one.
        Ok(()) => Ok(is_named(&file, path)?.then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let identity = |file: std::fs::Metadata| (file.dev(), file.ino());
    match path.metadata() {
        Ok(named) => Ok(identity(named) == identity(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_lines(file: &File) -> io::Result<Vec<Vec<u8>>> {
    let (mut reader, mut lines) = (BufReader::new(file), Vec::new());
    loop {
        let mut line = Vec::new();
        let most = SEALED_ANSWER_BYTES_MAX as u64 + 1;
        if reader.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        match line.pop_if(|last| *last == b'\n') {
            Some(_) if line.is_empty() => {}
            None if line.len() > SEALED_ANSWER_BYTES_MAX => {
                reader.skip_until(b'\n')?;
            }
            _ => lines.push(line),
        }
    }
}

impl State {
    fn new_entry(&mut self) -> JournalEntry {
        self.next += 1;
        JournalEntry(self.next)
    }

    fn adopt(&mut self, path: PathBuf, lock: File, lines: Vec<Vec<u8>>) -> Vec<OrphanedAnswer> {
        let file = self.next;
        let mut left = Vec::with_capacity(lines.len());
        for line in lines {
            let entry = self.new_entry();
            self.files.insert(entry, file);
            left.push(OrphanedAnswer { entry, line });
        }
        let inherited = OrphanedFile { path, left: left.len() as u64, settled: true, _lock: lock };
        if inherited.left == 0 {
            inherited.end();
        } else {
            self.inherited.insert(file, inherited);
        }
        left
    }

    fn forget(&mut self, entry: JournalEntry, settled: bool) {
        match self.files.remove(&entry) {
            None => self.own.forget(entry),
            Some(number) => {
                let Some(file) = self.inherited.get_mut(&number) else { return };
                file.left -= 1;
                file.settled &= settled;
                if file.left == 0
                    && let Some(file) = self.inherited.remove(&number)
                {
                    file.end();
                }
            }
        }
    }
}

impl OrphanedFile {
    /// Removes a file without remaining entries.
    fn end(self) {
        if !self.settled {
            let died = self.path.with_extension(DIED);
            if std::fs::rename(&died, self.path.with_extension(HANDED_ON)).is_err() {
                remove(&died);
            }
        }
        remove(&self.path);
    }
}

#[cfg(test)]
mod tests;
