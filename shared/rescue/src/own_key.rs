//! A sealing key that is generated automatically.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::SealingKeys;
use evergrant_files::private_file::{self, PrivateFile};

/// The key in `folder`, readable by its user only. It is created if there is none, with the folder;
/// processes that create one at the same time get the same.
///
/// # Errors
/// If there is none and the folder cannot be written, or if it cannot be read.
pub(crate) fn own_key(folder: &Path) -> io::Result<SecretString> {
    let path = folder.join("key");
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    private_file::create_folder(folder)?;
    // Never replaced, because it may have sealed something.
    match write(&path, &SealingKeys::generate()) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => read(&path)?.ok_or_else(|| io::Error::from(ErrorKind::NotFound)),
    }
}

fn read(path: &Path) -> io::Result<Option<SecretString>> {
    match std::fs::read_to_string(path) {
        Ok(key) => Ok(Some(SecretString::from(key))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, key: &SecretString) -> io::Result<()> {
    let mut file = PrivateFile::create(path)?;
    file.write_all(key.expose_secret().as_bytes())?;
    file.keep_first()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_created_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("rescue");
        let made = std::thread::scope(|scope| {
            let makers = [(); 8].map(|()| scope.spawn(|| own_key(&folder).unwrap()));
            makers.map(|maker| maker.join().unwrap().expose_secret().to_owned())
        });
        assert!(made.iter().all(|key| *key == made[0]), "all have the same");
        assert!(SealingKeys::new(&SecretString::from(made[0].as_str()), &[]).is_ok());
        let names: Vec<_> = folder.read_dir().unwrap().map(|found| found.unwrap()).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&names[0].path()), mode(&folder)), (0o600, 0o700));
    }
}
