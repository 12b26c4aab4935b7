//! A file as the whole process uses it: one writer, and readers beside it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::failure::Failure;
use super::file;
use super::process::Process;
use super::writer::{self, Request};

/// Readers that are kept open.
const IDLE_READERS: usize = 4;

/// A file, open. It is closed when this is dropped, after what was asked is written.
pub(super) struct Database {
    path: PathBuf,
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    readers: Mutex<Vec<Connection>>,
    /// This process, once it has taken something into its hands.
    process: OnceLock<Process>,
}

impl Database {
    /// The file at `path`: the one of this process if it is open already.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, Failure> {
        static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Database>>>> = Mutex::new(None);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        let fail = |failure: Failure| failure.of(path);
        // A file that does not exist has no canonical path; its folder has.
        let key = canonical(path).map_err(fail)?;
        if let Some(database) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(database);
        }
        let database = Arc::new(Self::start(path).map_err(fail)?);
        open.insert(key, Arc::downgrade(&database));
        open.retain(|_, database| database.strong_count() > 0);
        Ok(database)
    }

    fn start(path: &Path) -> Result<Self, Failure> {
        let connection = file::open_writer(path).map_err(Failure::at_start)?;
        let (requests, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn({
                let path = path.to_owned();
                move || writer::run(connection, &receiver, || file::open_writer(&path))
            })
            .map_err(|_| Failure::unavailable("no thread can be started to write it"))?;
        Ok(Self {
            path: path.to_owned(),
            requests: Some(requests),
            thread: Some(thread),
            readers: Mutex::default(),
            process: OnceLock::new(),
        })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name by which other processes tell whether this one still lives.
    pub(super) fn process(&self) -> Result<&str, Failure> {
        if self.process.get().is_none() {
            // Of two that are started at once one is kept; the other's file goes with it.
            let _ = self.process.set(Process::start(&self.path)?);
        }
        Ok(self.process.get().map(Process::name).unwrap_or_default())
    }

    /// Asks for a write and returns at once. The answer comes when it is on the disk.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Failure>> {
        let (request, answer) = writer::request(work);
        if let Some(requests) = &self.requests {
            // The thread ends only with this; if it has, the answer says so.
            let _ = requests.send(request);
        }
        answer
    }

    /// Writes, and returns when it is on the disk. It is written even if nobody waits any more.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let answer = self.ask(work);
        self.answered(answer.await)
    }

    /// An answer of [`Self::ask`].
    pub(super) fn answered<T>(
        &self,
        answer: Result<Result<T, Failure>, oneshot::error::RecvError>,
    ) -> Result<T, Failure> {
        let given_up = |_| Err(Failure::unavailable("the write was given up"));
        answer.unwrap_or_else(given_up).map_err(|failure| failure.of(&self.path))
    }

    /// Reads, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let this = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let reader = match this.idle_reader() {
                Some(reader) => reader,
                None => file::open_reader(&this.path)?,
            };
            let result = work(&reader);
            this.keep(reader);
            result
        });
        let stopped = |_| Err(Failure::unavailable("the process is shutting down"));
        reading.await.unwrap_or_else(stopped).map_err(|failure| failure.of(&self.path))
    }

    fn idle_reader(&self) -> Option<Connection> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, reader: Connection) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(reader);
        }
    }
}

impl Drop for Database {
    /// Whoever opens the file next finds everything in it: the last one to close it carries the
    /// write-ahead log over.
    fn drop(&mut self) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(self.requests.take());
        // The last one to hold this may be a request, on the thread itself: it ends by itself then.
        let is_elsewhere =
            |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(is_elsewhere) {
            // It has nothing to tell: a panic within a request is caught.
            let _ = thread.join();
        }
    }
}

fn canonical(path: &Path) -> Result<PathBuf, Failure> {
    let fail = |_| Failure::refused("its folder does not exist, or cannot be read");
    if let Ok(found) = path.canonicalize() {
        return Ok(found);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().map_err(fail)?;
    Ok(folder.join(path.file_name().ok_or_else(|| Failure::refused("it names no file"))?))
}
