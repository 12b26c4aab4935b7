//! A file that tells by its lock whether its process lives: the kernel gives the lock up when the process
//! dies, however it dies, so others on the machine can tell at once.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a file to append to, for its user alone, that is locked as long as it is open. It begins with
/// `content`, and takes the place of one of this name.
///
/// # Errors
/// If the folder cannot be written, or files in it cannot be locked.
pub fn create(path: &Path, content: &[u8]) -> io::Result<File> {
    // Whole and locked before it has the name that others look for.
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

/// Whether a file was left by a process that has died. None if there is no such file.
pub fn is_left(path: &Path) -> Option<bool> {
    match File::open(path) {
        // Shared: two that look at the same time don't take each other for the living.
        Ok(file) => Some(file.try_lock_shared().is_ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) => Some(false),
    }
}
