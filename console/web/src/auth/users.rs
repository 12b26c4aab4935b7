//! The users file: a line for each user, `name:role:hash`. Only its owner may read it. It is read
//! again whenever it has changed.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use evergrant_files::private_file;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::common_passwords;

/// The shortest password, in characters.
const SHORTEST_PASSWORD: usize = 10;
/// The longest password, in bytes: the duration of hashing depends on it.
pub(crate) const PASSWORD_MAX: usize = 1_024;
/// The longest name.
const NAME_MAX: usize = 64;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum UserRole {
    /// View everything.
    Viewer,
    /// Act as well.
    Operator,
}

impl UserRole {
    /// The name in the file of users.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for UserRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A user's name: letters, digits and `. _ @ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// The name as it is typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            return Err("a user's name is 1 to 64 letters, digits and . _ @ -");
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A user who may log in.
#[derive(Clone)]
pub struct ConsoleUser {
    /// What they may do.
    pub role: UserRole,
    /// The password's hash, argon2id in PHC's form.
    hash: String,
}

impl ConsoleUser {
    /// Identifies this password and this user: every hash has a salt of its own, so a new user of
    /// the same name has another mark.
    pub(crate) fn password_mark(&self) -> PasswordMark {
        let digest = Sha256::digest(&self.hash);
        PasswordMark(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A mark of a user's password: half of a hash of its hash, from which the password cannot be
/// guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PasswordMark(String);

#[cfg(test)]
impl PasswordMark {
    pub(crate) fn of_tests() -> Self {
        Self("0".repeat(32))
    }
}

impl fmt::Display for PasswordMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A users file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("read the users file {}: {reason}. Make it with: evergrant console user add NAME", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        reason: std::io::ErrorKind,
    },
    /// Others may read or change it.
    #[error(
        "the users file {} may be read or changed by others (its mode is {mode:o}): chmod 600 {}",
        path.display(),
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A line does not describe a user.
    #[error("line {line} of the users file {} is not name:role:hash; remove it and add the user again", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number.
        line: usize,
    },
    /// It cannot be written.
    #[error("write the users file {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why it cannot be written.
        reason: std::io::ErrorKind,
    },
    /// A password is too short or too long.
    #[error(
        "a password has at least {SHORTEST_PASSWORD} characters and at most {PASSWORD_MAX} bytes"
    )]
    Password,
    /// A password is easy to guess.
    #[error(
        "the password is one of the first that anybody tries: a word or a name with digits after it, \
         a row of keys, or one character again and again. Take several words, or let a password \
         manager make one"
    )]
    Common,
    /// A password cannot be hashed.
    #[error("hash the password: {0}")]
    Hash(String),
    /// There is no such user.
    #[error("there is no user {0}; see: evergrant console user list")]
    Unknown(UserName),
}

/// All users by name.
pub type ConsoleUsers = BTreeMap<UserName, ConsoleUser>;

/// The file, and its content when it was last read.
pub struct UsersFile {
    path: PathBuf,
    read: Mutex<Option<(Stamp, Arc<ConsoleUsers>)>>,
}

/// What changes when a file does.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed_at: (i64, i64),
}

impl UsersFile {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: Mutex::new(None) }
    }

    /// All users, as the file is now.
    pub fn users(&self) -> Result<Arc<ConsoleUsers>, UsersError> {
        let found = std::fs::metadata(&self.path).map_err(|error| self.unreadable(&error))?;
        let stamp = Stamp {
            inode: found.ino(),
            size: found.size(),
            changed_at: (found.ctime(), found.ctime_nsec()),
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, users)) = &*read
            && *known == stamp
        {
            return Ok(Arc::clone(users));
        }
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(UsersError::Open { path: self.path.clone(), mode });
        }
        let text = std::fs::read_to_string(&self.path).map_err(|error| self.unreadable(&error))?;
        let users = Arc::new(self.parse(&text)?);
        *read = Some((stamp, Arc::clone(&users)));
        Ok(users)
    }

    /// Adds a user, or changes role and password, which ends the user's logins.
    pub fn add(
        &self,
        name: UserName,
        role: UserRole,
        password: &SecretString,
    ) -> Result<(), UsersError> {
        let user = ConsoleUser { role, hash: hash(password)? };
        if common_passwords::is_common(password.expose_secret(), name.as_str()) {
            return Err(UsersError::Common);
        }
        let mut users =
            if self.path.exists() { (*self.users()?).clone() } else { ConsoleUsers::new() };
        users.insert(name, user);
        self.write(&users)
    }

    /// Removes a user and ends the user's logins.
    pub fn remove(&self, name: &UserName) -> Result<(), UsersError> {
        let mut users = (*self.users()?).clone();
        users.remove(name).ok_or_else(|| UsersError::Unknown(name.clone()))?;
        self.write(&users)
    }

    fn parse(&self, text: &str) -> Result<ConsoleUsers, UsersError> {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let read = lines.map(|(line, text)| {
            entry(text).ok_or_else(|| UsersError::Line { path: self.path.clone(), line })
        });
        read.collect()
    }

    /// Atomically: a new file replaces the old one.
    fn write(&self, users: &ConsoleUsers) -> Result<(), UsersError> {
        let failed = |error: std::io::Error| UsersError::Write {
            path: self.path.clone(),
            reason: error.kind(),
        };
        let text: String = users
            .iter()
            .map(|(name, user)| format!("{name}:{}:{}\n", user.role, user.hash))
            .collect();
        private_file::write(&self.path, text.as_bytes()).map_err(failed)
    }

    fn unreadable(&self, error: &std::io::Error) -> UsersError {
        UsersError::Read { path: self.path.clone(), reason: error.kind() }
    }
}

fn entry(line: &str) -> Option<(UserName, ConsoleUser)> {
    let mut parts = line.splitn(3, ':');
    let name = parts.next()?.parse().ok()?;
    let role = match parts.next()? {
        "viewer" => UserRole::Viewer,
        "operator" => UserRole::Operator,
        _ => return None,
    };
    let hash = parts.next()?.trim_end().to_owned();
    PasswordHash::new(&hash).ok()?;
    Some((name, ConsoleUser { role, hash }))
}

fn hash(password: &SecretString) -> Result<String, UsersError> {
    let password = password.expose_secret();
    if password.chars().count() < SHORTEST_PASSWORD || password.len() > PASSWORD_MAX {
        return Err(UsersError::Password);
    }
    let hashed = Argon2::default().hash_password(password.as_bytes());
    hashed.map(|hash| hash.to_string()).map_err(|error| UsersError::Hash(error.to_string()))
}

/// A hash without a password, with the costs of a real one: a login of an unknown user must take as
/// long as that of a known one.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keQ$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whether a password is that of a user. It takes long, also for an unknown user: call it where
/// nothing else waits.
pub(crate) fn is_right(user: Option<&ConsoleUser>, password: &SecretString) -> bool {
    let hash = user.map_or(NOBODY, |user| user.hash.as_str());
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let right = Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash);
    right.is_ok() && user.is_some()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line whose hash costs very little, for tests with many logins.
    pub(crate) fn cheap_line(name: &str, role: UserRole, password: &str) -> String {
        let params = argon2::Params::new(8, 1, 1, None).unwrap();
        let cheap = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        format!("{name}:{role}:{}\n", cheap.hash_password(password.as_bytes()).unwrap())
    }

    #[test]
    fn users_are_edited_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile::new(&folder.path().join("users"));
        let name: UserName = "alice@example.com".parse().unwrap();
        let (first, second) =
            (SecretString::from("a long password"), SecretString::from("another password"));
        file.add(name.clone(), UserRole::Viewer, &first).unwrap();
        let mode = std::fs::metadata(folder.path().join("users")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(is_right(file.users().unwrap().get(&name), &first));
        assert!(!is_right(file.users().unwrap().get(&name), &second));
        file.add(name.clone(), UserRole::Operator, &second).unwrap();
        let users = file.users().unwrap();
        assert!(is_right(users.get(&name), &second) && users[&name].role == UserRole::Operator);
        let written = std::fs::read_to_string(folder.path().join("users")).unwrap();
        assert!(written.starts_with("alice@example.com:operator:$argon2id$"), "{written}");
        file.remove(&name).unwrap();
        assert!(file.users().unwrap().is_empty());
        assert!(matches!(file.remove(&name), Err(UsersError::Unknown(_))));
    }

    #[test]
    fn a_shared_or_invalid_users_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let file = UsersFile::new(&path);
        assert!(matches!(file.users(), Err(UsersError::Read { .. })));
        std::fs::write(&path, cheap_line("bob", UserRole::Viewer, "pw")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(file.users(), Err(UsersError::Open { mode: 0o640, .. })));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(file.users().unwrap().len(), 1);
        for wrong in ["bob:viewer:plain", "bob:root:$argon2id$", "bob", "b b:viewer:x"] {
            std::fs::write(&path, format!("\n{wrong}\n")).unwrap();
            assert!(matches!(file.users(), Err(UsersError::Line { line: 2, .. })), "{wrong}");
        }
    }

    #[test]
    fn common_passwords_and_the_own_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = UsersFile::new(&folder.path().join("users"));
        let add = |password: &str| {
            let name: UserName = "alice@example.com".parse().unwrap();
            file.add(name, UserRole::Viewer, &SecretString::from(password))
        };
        for common in ["1234567890", "Password123!", "alice@example.com", "Alice@Example.com2026"] {
            assert!(matches!(add(common), Err(UsersError::Common)), "{common}");
        }
        assert!(matches!(add("short"), Err(UsersError::Password)));
        add("correct horse battery").unwrap();
    }

    #[test]
    fn invalid_passwords_and_names_are_refused() {
        for password in ["short", &"x".repeat(PASSWORD_MAX + 1)] {
            assert!(matches!(hash(&SecretString::from(password)), Err(UsersError::Password)));
        }
        for name in ["", "a:b", "a b", "<b>", &"x".repeat(65)] {
            assert!(name.parse::<UserName>().is_err(), "{name}");
        }
        assert!(!is_right(None, &SecretString::from("anything at all")));
    }
}
