//! Findings of an inspection, for `evergrant doctor`.

/// How [`InspectionFinding::what`] begins if it is about the documents of one provider.
pub const DOCUMENTS_OF: &str = "documents of ";

/// The [`InspectionFinding::what`] of documents that are not adopted.
pub const LEFT_ALONE: &str = "documents left alone";

/// One finding of `evergrant doctor`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InspectionFinding {
    /// The subject.
    pub what: String,
    /// Whether it is in order.
    pub ok: bool,
    /// What was found, and what to do if it is not in order.
    pub detail: String,
}
