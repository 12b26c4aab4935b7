//! One dead letter as operators see it.

use evergrant_domain::{DeadLetter, DeadReason, DocumentId, GrantStatus, ProviderId, Timestamp};
use evergrant_ports::GrantView;
use serde::Serialize;

/// A dead letter as operators see it: all of it except the message's body, which may hold anything,
/// with its document's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterView {
    /// The provider.
    pub provider: ProviderId,
    /// The document. None if the message was not a job.
    pub id: Option<DocumentId>,
    /// Its user.
    pub user: Option<String>,
    /// The email address of the user.
    pub email: Option<String>,
    /// The present status of the grant. None if its document does not exist, or is not adopted.
    pub status: Option<GrantStatus>,
    /// Whether its grant lives again: nothing has to be done then.
    pub revived: bool,
    /// The reason.
    pub reason: DeadReason,
    /// What to do about it.
    pub remedy: &'static str,
    /// The HTTP status of the last answer.
    pub http_status: Option<u16>,
    /// The error code of the last answer.
    pub code: Option<String>,
    /// The description of the last answer.
    pub description: Option<String>,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the first one failed.
    pub first_failed_at: Timestamp,
    /// When the last one failed.
    pub last_failed_at: Timestamp,
    /// How often it was redriven.
    pub redrive_count: u32,
    /// The worker that gave it up.
    pub worker: Option<String>,
}

impl LetterView {
    pub(super) fn new(letter: &DeadLetter, grant: Option<GrantView>) -> Self {
        let (user, email, status) = match grant {
            Some(grant) => (grant.user, grant.email, grant.status),
            None => (None, None, None),
        };
        let (revived, letter) = (letter.is_answered(status), letter.clone());
        Self {
            provider: letter.provider,
            id: letter.id,
            user,
            email,
            status,
            revived,
            reason: letter.reason,
            remedy: letter.reason.remedy(),
            http_status: letter.http_status,
            code: letter.code,
            description: letter.description,
            attempts: letter.attempts,
            first_failed_at: letter.first_failed_at,
            last_failed_at: letter.last_failed_at,
            redrive_count: letter.redrive_count,
            worker: letter.worker,
        }
    }
}
