//! A process that works on a file, known by a lock: the kernel gives it up when the process dies, however
//! it dies, so others can tell at once.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::failure::Failure;

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
        let fail = |_| Failure::refused("the folder of the file cannot be written");
        let options = || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            options
        };
        // Locked before it has the name that others look for.
        let hidden = path_of(database, &format!("{name}.new"));
        let file = options().open(&hidden).map_err(fail)?;
        file.try_lock().map_err(|_| Failure::refused("files beside it cannot be locked"))?;
        std::fs::rename(&hidden, &path).map_err(fail)?;
        Ok(Self { name, path, _lock: file })
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
    match File::open(path_of(database, name)) {
        // Shared: two that look at the same time don't take each other for the living.
        Ok(file) => file.try_lock_shared().is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
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
