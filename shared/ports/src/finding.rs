//! What a look at a server found.

/// How [`InspectionFinding::what`] begins where it is about the documents of one provider.
pub const DOCUMENTS_OF: &str = "documents of ";

/// What [`InspectionFinding::what`] is where it is about documents that nobody takes up.
pub const LEFT_ALONE: &str = "documents left alone";

/// One thing that `evergrant doctor` looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InspectionFinding {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, and if it is not as it should be, what to do.
    pub detail: String,
}
