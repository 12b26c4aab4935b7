//! A copy of a file that is in use.

use std::io;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::file;
use evergrant_files::private_file::PrivateFile;

/// A copy that was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no file {}: check store.url", .0.display())]
    Missing(PathBuf),
    /// The file could not be read, or its copy not be written.
    #[error("backup: {0}")]
    Copy(String),
    /// The copy's own file.
    #[error("backup to {}: {reason}", path.display())]
    Write {
        /// Where it was to be.
        path: PathBuf,
        /// What the system says.
        reason: io::ErrorKind,
    },
}

/// Copies a file as it is at one moment, while other processes write to it, and returns the copy's bytes. The
/// copy is for its owner alone, appears when it is whole and takes the place of a file of that name. What was
/// deleted is not in it.
///
/// # Errors
/// If the file cannot be read, or the copy not be written.
pub async fn backup(from: &Path, to: &Path) -> Result<u64, BackupError> {
    let (from, to) = (from.to_owned(), to.to_owned());
    let copying = tokio::task::spawn_blocking(move || copy(&from, &to));
    let stopped = |_| Err(BackupError::Copy("the process is shutting down".to_owned()));
    copying.await.unwrap_or_else(stopped)
}

fn copy(from: &Path, to: &Path) -> Result<u64, BackupError> {
    if !from.is_file() {
        return Err(BackupError::Missing(from.to_owned()));
    }
    let fail = |error: io::Error| BackupError::Write { path: to.to_owned(), reason: error.kind() };
    let copy = PrivateFile::create(to).map_err(fail)?;
    // SQLite fills a file that exists and is empty, so its mode stays.
    let copied = vacuum_into(from, copy.partial_path());
    copied.map_err(|failure| BackupError::Copy(failure.of(from).reason))?;
    let bytes = copy.partial_path().metadata().map_err(fail)?.len();
    copy.replace().map_err(fail)?;
    Ok(bytes)
}

fn vacuum_into(from: &Path, copy: &Path) -> Result<(), Failure> {
    let name = copy.to_str().ok_or_else(|| Failure::refused("the copy's name is not UTF-8"))?;
    let connection = file::open_reader(from)?;
    file::recognise(&connection)?;
    // It writes to the copy only, but to SQLite that is a write.
    connection.pragma_update(None, "query_only", false)?;
    connection.execute("VACUUM INTO ?1", [name])?;
    Ok(())
}
