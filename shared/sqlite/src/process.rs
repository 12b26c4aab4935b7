//! A process that works on a file, known by a lock.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use evergrant_files::process_file;

/// This process. Its file beside the database is removed when this is dropped.
pub(super) struct Process {
    name: String,
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Process {
    /// Makes and locks a file beside the database.
    pub(super) fn start(database: &Path) -> Result<Self, Failure> {
        let name = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        let path = path_of(database, &name);
        let lock = process_file::create(&path, &[]).map_err(|_| {
            Failure::unavailable(
                "the folder of the file cannot be written, or files in it not locked",
            )
        })?;
        Ok(Self { name, path, _lock: lock })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Left behind, it is taken for that of a dead process, which is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn path_of(database: &Path, name: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!("-process-{name}"));
    PathBuf::from(path)
}

/// Whether the process of this name is gone.
pub(super) fn is_gone(database: &Path, name: &str) -> bool {
    process_file::is_left(&path_of(database, name)).unwrap_or(true)
}

/// Removes what a dead process left.
pub(super) fn bury(database: &Path, name: &str) {
    // Another process may have been faster.
    let _ = std::fs::remove_file(path_of(database, name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_as_long_as_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("e.db");
        let process = Process::start(&database).unwrap();
        let name = process.name().to_owned();
        assert!(!is_gone(&database, &name));
        // As a kill leaves it: the file is there, the lock is not.
        process._lock.unlock().unwrap();
        assert!(is_gone(&database, &name));
        drop(process);
        assert!(is_gone(&database, &name) && !path_of(&database, &name).exists());
    }
}
