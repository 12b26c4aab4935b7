//! Files with secrets: readable by their owner only, and complete once they have their name.
//!
//! A file is written under a new random name. So nobody can prepare it, neither with other
//! permissions nor as a symbolic link.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that is being written. It is removed if it is dropped before it has its name.
#[derive(Debug)]
pub struct PrivateFile {
    file: File,
    /// Its name until it is complete.
    partial: PathBuf,
    path: PathBuf,
}

impl PrivateFile {
    /// Creates an empty file beside `path`, with mode 0600.
    ///
    /// # Errors
    /// If `path` names no file, or its folder cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut partial = name.to_owned();
        partial.push(format!(".{}.partial", uuid::Uuid::new_v4().simple()));
        let partial = path.with_file_name(partial);
        // Exclusive: an existing file or symbolic link is not opened.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        Ok(Self { file, partial, path: path.to_owned() })
    }

    /// The name that it has until it is complete.
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// Gives it its name, replacing a file or a symbolic link of that name. When this returns, the
    /// file is on the disk.
    ///
    /// # Errors
    /// If it cannot be written or renamed.
    pub fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.partial, &self.path)?;
        sync_folder_of(&self.path)
    }

    /// Gives it its name, unless a file of that name exists. When this returns, the file is on the
    /// disk.
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
        // It no longer exists if it was renamed, and is useless if not.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Writes a whole file, replacing one of that name.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = PrivateFile::create(path)?;
    file.write_all(content)?;
    file.replace()
}

/// Creates a folder and its missing parents, with mode 0700. An existing folder is not changed.
///
/// # Errors
/// If it cannot be created.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// So that the name also survives a power failure.
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
    fn a_private_file_is_its_owners_and_leaves_no_other() {
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
    fn a_symbolic_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("secret"), folder.path().join("victim"));
        std::fs::write(&victim, "untouched").unwrap();
        symlink(&victim, &path).unwrap();
        write(&path, b"s3cret").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"untouched");
        assert!(!path.symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn of_two_first_writers_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let [one, other] = [(); 2].map(|()| PrivateFile::create(&path).unwrap());
        one.keep_first().unwrap();
        assert_eq!(other.keep_first().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn created_folders_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a").join("b");
        create_folder(&made).unwrap();
        create_folder(&made).unwrap();
        assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o700, 0o700));
    }
}
