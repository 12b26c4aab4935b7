//! A file whose lock shows whether its process lives. The kernel releases the lock when the process
//! dies for any reason, so other processes of the machine can detect it at once.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Creates a file to append to, for its user only, that is locked while it is open. It begins with
/// `content`, and replaces one of this name.
///
/// # Errors
/// If the folder cannot be written, or files in it cannot be locked.
pub fn create(path: &Path, content: &[u8]) -> io::Result<File> {
    // It is complete and locked before it has the name that other processes look for.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(OsStr::new(".new"));
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&hidden)?;
    let made = file.try_lock().map_err(io::Error::from);
    let made = made.and_then(|()| file.write_all(content));
    match made.and_then(|()| std::fs::rename(&hidden, path)) {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = std::fs::remove_file(&hidden);
            Err(error)
        }
    }
}

/// Whether the file's process has died. None if there is no such file.
pub fn is_left(path: &Path) -> Option<bool> {
    match File::open(path) {
        // A shared lock: two simultaneous checks do not mistake each other for the living process.
        Ok(file) => Some(file.try_lock_shared().is_ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) => Some(false),
    }
}
