//! What SQLite says, in words that say what to do. SQLite's own words are not passed on: they may
//! quote a value.

use rusqlite::ErrorCode;

use evergrant_ports::{QueueError, StoreError};

/// Something that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    kind: Kind,
    pub(super) reason: String,
}

/// Whether it will fail again, however often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It will.
    Refused,
    /// It may not: it is not known to be final.
    Unavailable,
    /// The file could not be opened or written. When a process starts, that is the fault of whoever set it
    /// up; later it may be a lack of file descriptors, or permissions that somebody is changing.
    Access,
}

impl Failure {
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, reason: reason.into() }
    }

    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, reason: reason.into() }
    }

    fn access(reason: impl Into<String>) -> Self {
        Self { kind: Kind::Access, reason: reason.into() }
    }

    /// The same, met when the file is first opened.
    pub(super) fn at_start(self) -> Self {
        match self.kind {
            Kind::Access => Self { kind: Kind::Refused, ..self },
            Kind::Refused | Kind::Unavailable => self,
        }
    }

    pub(super) const fn is_final(&self) -> bool {
        matches!(self.kind, Kind::Refused)
    }

    /// The same, said of a file.
    pub(super) fn of(self, file: &std::path::Path) -> Self {
        Self { reason: format!("the file {}: {}", file.display(), self.reason), ..self }
    }

    pub(super) fn in_store(self, operation: &'static str) -> StoreError {
        let (is_final, reason) = (self.is_final(), self.reason);
        match is_final {
            true => StoreError::Refused { operation, reason },
            false => StoreError::Unavailable { operation, reason },
        }
    }

    pub(super) fn in_queue(self, operation: &'static str) -> QueueError {
        let (is_final, reason) = (self.is_final(), self.reason);
        match is_final {
            true => QueueError::Refused { operation, reason },
            false => QueueError::Unavailable { operation, reason },
        }
    }
}

/// What SQLite says of a statement that will fail again. Anything that is not known to be final is tried
/// again: to give up an answer over something that passes loses a grant.
const FINAL: [ErrorCode; 7] = [
    ErrorCode::TooBig,
    ErrorCode::ConstraintViolation,
    ErrorCode::TypeMismatch,
    ErrorCode::ApiMisuse,
    ErrorCode::NoLargeFileSupport,
    ErrorCode::AuthorizationForStatementDenied,
    ErrorCode::ParameterOutOfRange,
];

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(error, _) = error else {
            return Self::refused(
                "something in it has an unexpected form: was it changed by another program?",
            );
        };
        match error.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Self::unavailable("another process has been writing to it for too long")
            }
            ErrorCode::DiskFull => Self::unavailable("the disk is full: make room"),
            ErrorCode::OutOfMemory => Self::unavailable("there is not enough memory"),
            ErrorCode::ReadOnly => Self::access(
                "it cannot be written: look at the permissions of the file and of its folder",
            ),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Self::access(
                "it cannot be opened: does its folder exist, and may this user write there?",
            ),
            ErrorCode::NotADatabase => {
                Self::refused("it is no SQLite file, or damaged at its beginning")
            }
            ErrorCode::DatabaseCorrupt => Self::refused(DAMAGED),
            ErrorCode::SystemIoFailure => Self::unavailable(format!(
                "the disk reports an error (SQLite's code {})",
                error.extended_code
            )),
            code if FINAL.contains(&code) => {
                Self::refused(format!("SQLite's error {}", error.extended_code))
            }
            _ => Self::unavailable(format!("SQLite's error {}", error.extended_code)),
        }
    }
}

/// What to do about a damaged file.
pub(super) const DAMAGED: &str = "it is damaged: restore a copy of it, or save what can still be \
                                  read with `sqlite3 FILE .recover`";

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn of(code: i32) -> Failure {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn only_what_is_known_to_be_final_is_refused() {
        for code in [ffi::SQLITE_CONSTRAINT, ffi::SQLITE_TOOBIG, ffi::SQLITE_NOTADB] {
            assert!(of(code).is_final(), "{code}");
        }
        for code in [ffi::SQLITE_INTERRUPT, ffi::SQLITE_PROTOCOL, ffi::SQLITE_ABORT, 9_999] {
            assert!(!of(code).is_final(), "{code}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_refused_at_the_start_alone() {
        for code in [ffi::SQLITE_CANTOPEN, ffi::SQLITE_READONLY, ffi::SQLITE_PERM] {
            assert!(!of(code).is_final() && of(code).at_start().is_final(), "{code}");
        }
        assert!(!of(ffi::SQLITE_BUSY).at_start().is_final());
    }
}
