//! The request of a bulk action. It is kept in the audit record, so that the action can be resumed.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use evergrant_domain::audit::{AuditEntry, OperatorAction};
use evergrant_domain::{DeadLetter, DeadReason, DocumentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::letters::LetterFilter;

/// What is done to each letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkKind {
    /// Its grant becomes active and gets a job.
    Redrive,
    /// It is removed; its document stays unchanged.
    Discard,
}

impl BulkKind {
    /// The name in commands and in the audit record.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Discard => "discard",
        }
    }
}

impl From<BulkKind> for OperatorAction {
    fn from(kind: BulkKind) -> Self {
        match kind {
            BulkKind::Redrive => Self::Redrive,
            BulkKind::Discard => Self::Discard,
        }
    }
}

/// The request of a bulk action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkRequest {
    /// What is done to each letter.
    pub kind: BulkKind,
    /// Which letters match.
    pub filter: LetterFilter,
    /// If not empty: only the letters of these documents.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub picked: BTreeSet<DocumentId>,
    /// Letters that last failed after this are excluded.
    pub cutoff: Timestamp,
    /// Whether to discard letters with new tokens as well. By default they stay, because these
    /// tokens are stored nowhere else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncommitted_answers: bool,
    /// The most letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The most letters a second; unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<NonZeroU32>,
    /// The audit entry that this resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<String>,
}

impl BulkRequest {
    /// All letters that match, without limits.
    pub fn new(kind: BulkKind, filter: LetterFilter, cutoff: Timestamp) -> Self {
        let (picked, limit, per_second, resumes) = (BTreeSet::new(), None, None, None);
        let uncommitted_answers = false;
        Self { kind, filter, picked, cutoff, uncommitted_answers, limit, per_second, resumes }
    }

    /// The request in an entry of the audit record. None if the entry is not a bulk action.
    pub fn from_entry(entry: &AuditEntry) -> Option<Self> {
        serde_json::from_value(entry.request.clone()).ok()
    }

    /// Whether a letter that matches the filter is included.
    pub fn meaning(&self, letter: &DeadLetter) -> LetterMatch {
        let is_picked = |id| self.picked.contains(id);
        if !self.picked.is_empty() && !letter.id.as_ref().is_some_and(is_picked) {
            LetterMatch::Other
        } else if self.kind == BulkKind::Discard
            && letter.reason == DeadReason::UncommittedAnswer
            && !self.uncommitted_answers
        {
            LetterMatch::Uncommitted
        } else if letter.last_failed_at > self.cutoff {
            LetterMatch::AfterCutoff
        } else {
            LetterMatch::Meant
        }
    }
}

/// Whether a letter is included, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterMatch {
    /// It is included.
    Meant,
    /// It is not selected.
    Other,
    /// It holds new tokens, and these were not requested.
    Uncommitted,
    /// It came after the cut-off, or its worker's clock is ahead of the store's.
    AfterCutoff,
}
