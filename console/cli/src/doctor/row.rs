//! What was looked at, what was found, and how bad that is.

use evergrant_ports::InspectionFinding;
use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// Somebody has to look at it.
    Warning,
    /// It does not work.
    Wrong,
}

/// A finding as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DoctorRow {
    /// What was looked at.
    pub(crate) what: String,
    /// Whether nothing has to be done.
    ok: bool,
    pub(crate) level: Level,
    /// What was found and, if it is not as it should be, what to do.
    pub(crate) detail: String,
}

impl DoctorRow {
    pub(crate) fn new(level: Level, what: impl Into<String>, detail: impl Into<String>) -> Self {
        let ok = matches!(level, Level::Ok | Level::Note);
        Self { what: what.into(), ok, level, detail: detail.into() }
    }

    pub(crate) const fn is_ok(&self) -> bool {
        self.ok
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Wrong => "WRONG",
        };
        vec![level.to_owned(), self.what.clone(), self.detail.clone()]
    }
}

impl From<InspectionFinding> for DoctorRow {
    fn from(finding: InspectionFinding) -> Self {
        let level = if finding.ok { Level::Ok } else { Level::Wrong };
        Self::new(level, finding.what, finding.detail)
    }
}
