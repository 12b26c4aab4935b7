//! The journal in a folder: a file for each process, locked while the process lives.
//!
//! The kernel keeps what was written when the process is killed, so nothing is synchronised to the
//! disk: a power cut is what the rescue queue is for.
//!
//! Beside the file of a process that has died is an empty one that says so, since the lock is its heir's
//! then. It stays when the journal is gone, under another name if part of that went to the rescue queue. A
//! journal that did not take every answer has another name, so that it tells nothing of its process; and so
//! does one of before the machine was started, which a power cut may have emptied.
//!
//! A journal that cannot be read for now is passed by, and tried again at the next look: what another process
//! left in another file must not wait for it. Its process may have left an answer to any document.

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

/// A file of this suffix says that a process has died whose journal was inherited.
const DIED: &str = "died";
/// A file of this suffix says that answers of such a journal went to the rescue queue.
const HANDED_ON: &str = "handed-on";
/// The suffix of a file that a process is about to rename.
const NEW: &str = "new";
/// How long the dead are remembered: longer than a lease.
const PEER_TTL: Duration = Duration::from_secs(3_600);

/// A journal in a folder that other processes of this machine may share.
pub struct FileJournal {
    folder: PathBuf,
    boot: String,
    state: Mutex<State>,
}

struct State {
    own: OwnFile,
    /// Inherited files, and how many of their entries are not forgotten.
    inherited: HashMap<u64, OrphanedFile>,
    /// Which inherited file an entry is in.
    files: HashMap<JournalEntry, u64>,
    /// Journals that could not be read at the last look.
    unreadable: HashSet<PathBuf>,
    next: u64,
}

/// A file of a process that is gone. Its lock is held as long as it is here.
struct OrphanedFile {
    path: PathBuf,
    left: u64,
    /// All that was in it is written, as far as it has come.
    settled: bool,
    _lock: File,
}

impl FileJournal {
    /// A journal in `folder`, which is made if it is not there, for the process `name`.
    ///
    /// # Errors
    /// If the folder cannot be made or written.
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
            // The rest of the folder comes at the next look.
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
    /// What is in one file, if its process is gone. One that cannot be read is told once, as long as it
    /// stays so.
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
                    tracing::error!(path = %path.display(), %error, "this journal cannot be read, and may \
                        hold answers of a worker that died: make it readable for this user, or move it away \
                        if it is none. It is tried again");
                }
                Vec::new()
            }
        })
    }

    /// The lines of a file whose process is gone, and the file, locked.
    fn read_left(path: &Path) -> io::Result<Option<(File, Vec<Vec<u8>>)>> {
        let Some(file) = unowned(path)? else { return Ok(None) };
        // Before anything else: the lock is taken for that of a process that lives. A disk that is full
        // must not keep answers from their documents.
        if let Err(error) = File::create(path.with_extension(DIED)) {
            tracing::warn!(path = %path.display(), %error, "not noted that this journal's process has \
                died: its leases run out. Is the disk full?");
        }
        let lines = read_lines(&file)?;
        Ok(Some((file, lines)))
    }
}

fn journal_of(folder: &Path, process: &str, boot: &str) -> PathBuf {
    folder.join(format!("{process}.{boot}.{SUFFIX}"))
}

/// What tells this run of the machine from its others. A random one where there is no telling: then no
/// process knows of another's end.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    if id.is_empty() { uuid::Uuid::new_v4().simple().to_string() } else { id }
}

/// Whether nothing is held any more of a process that this file says has died, or that did not come to
/// rename it.
fn is_long_ago(path: &Path) -> bool {
    let at = path.metadata().and_then(|found| found.modified());
    at.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > PEER_TTL))
}

/// The file, locked, if its process is gone. A process of ours that holds it has it locked.
fn unowned(path: &Path) -> io::Result<Option<File>> {
    let opened = path.metadata().and_then(|found| match found.is_file() {
        true => File::open(path),
        // To open a pipe would wait for somebody who writes to it.
        false => Err(io::Error::other("it is no file")),
    });
    let file = match opened {
        Ok(file) => file,
        // Another process was faster, and is done with it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        // Its name may have gone between the two steps, or be that of another by now; then it has
        // nothing left.
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
    /// Nothing is left in it.
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
