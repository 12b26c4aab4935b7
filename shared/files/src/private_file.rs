//! Files that hold secrets: for their owner alone from the first byte on, and whole once they have their
//! name.
//!
//! A file is written under a random name that did not exist before, so nobody can prepare it: neither with
//! permissions of their own nor as a symbolic link to another place.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that is being written. Dropped before it has its name, it is removed.
#[derive(Debug)]
pub struct PrivateFile {
    file: File,
    /// Its name until it is whole.
    partial: PathBuf,
    path: PathBuf,
}

impl PrivateFile {
    /// An empty file beside `path`, with mode 0600.
    ///
    /// # Errors
    /// If `path` names no file, or its folder cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut partial = name.to_owned();
        partial.push(format!(".{}.partial", uuid::Uuid::new_v4().simple()));
        let partial = path.with_file_name(partial);
        // Exclusive: neither a file that is there nor a symbolic link is opened.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        Ok(Self { file, partial, path: path.to_owned() })
    }

    /// The name that it has until it is whole.
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// Gives it its name, in place of a file or a symbolic link of that name. When this returns, it is on the
    /// disk.
    ///
    /// # Errors
    /// If it cannot be written or renamed.
    pub fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.partial, &self.path)?;
        sync_folder_of(&self.path)
    }

    /// Gives it its name, unless there is a file of that name. When this returns, it is on the disk.
    ///
    /// # Errors
    /// As [`Self::replace`], and `AlreadyExists`.
    pub fn keep_first(self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::hard_link(&self.partial, &self.path)?;
        sync_folder_of(&self.path)
    }
}

impl Write for PrivateFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        // Not there if it has been renamed, and of no use if it has not.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Writes a whole file, in place of one of that name.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = PrivateFile::create(path)?;
    file.write_all(content)?;
    file.replace()
}

/// Makes a folder, and those above it that are missing, with mode 0700. One that exists stays as it is.
///
/// # Errors
/// If it cannot be made.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// So that the name outlives a power cut, too.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_its_owners_alone_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "open to all").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        write(&path, b"s3cret").unwrap();
        assert_eq!((mode(&path), std::fs::read(&path).unwrap()), (0o600, b"s3cret".to_vec()));
        drop(PrivateFile::create(&path).unwrap());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_symbolic_link_of_its_name_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("secret"), folder.path().join("victim"));
        std::fs::write(&victim, "untouched").unwrap();
        symlink(&victim, &path).unwrap();
        write(&path, b"s3cret").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
        assert!(!path.symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn of_two_that_are_to_be_the_first_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let [one, other] = [(); 2].map(|()| PrivateFile::create(&path).unwrap());
        one.keep_first().unwrap();
        assert_eq!(other.keep_first().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn folders_that_are_made_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a").join("b");
        create_folder(&made).unwrap();
        create_folder(&made).unwrap();
        assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o700, 0o700));
    }
}
