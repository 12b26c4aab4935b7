//! What SQLite says, in words that say what to do. SQLite's own words are not passed on: they may
//! quote a value.

use rusqlite::ErrorCode;

use crate::ports::{QueueError, StoreError};

/// Something that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// It will fail again, however often it is tried.
    pub(super) refused: bool,
    pub(super) reason: String,
}

impl Failure {
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self { refused: true, reason: reason.into() }
    }

    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self { refused: false, reason: reason.into() }
    }

    /// The same, said of a file.
    pub(super) fn of(self, file: &std::path::Path) -> Self {
        Self { reason: format!("the file {}: {}", file.display(), self.reason), ..self }
    }

    pub(super) fn in_store(self, operation: &'static str) -> StoreError {
        let reason = self.reason;
        match self.refused {
            true => StoreError::Refused { operation, reason },
            false => StoreError::Unavailable { operation, reason },
        }
    }

    pub(super) fn in_queue(self, operation: &'static str) -> QueueError {
        let reason = self.reason;
        match self.refused {
            true => QueueError::Refused { operation, reason },
            false => QueueError::Unavailable { operation, reason },
        }
    }
}

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
            ErrorCode::ReadOnly => Self::refused(
                "it cannot be written: look at the permissions of the file and of its folder",
            ),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Self::refused(
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
            _ => Self::refused(format!("SQLite's error {}", error.extended_code)),
        }
    }
}

/// What to do about a damaged file.
pub(super) const DAMAGED: &str = "it is damaged: restore a copy of it, or save what can still be \
                                  read with `sqlite3 FILE .recover`";
