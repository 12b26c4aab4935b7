//! One dead letter as operators see it.

use evergrant_domain::{DeadLetter, DeadReason, DocumentId, ProviderId, Status, Timestamp};
use evergrant_ports::GrantView;
use serde::Serialize;

/// A dead letter as operators see it: all of it but the message's body, which may hold anything. Its
/// document's user stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LetterView {
    pub(crate) provider: ProviderId,
    pub(crate) id: Option<DocumentId>,
    pub(crate) user: Option<String>,
    pub(crate) email: Option<String>,
    /// What the grant is now. None if its document is gone, or not adopted.
    pub(crate) status: Option<Status>,
    /// Its grant lives again: there is nothing to do about it.
    pub(crate) revived: bool,
    pub(crate) reason: DeadReason,
    pub(crate) remedy: &'static str,
    pub(crate) http_status: Option<u16>,
    pub(crate) code: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) first_failed_at: Timestamp,
    pub(crate) last_failed_at: Timestamp,
    pub(crate) redrive_count: u32,
    pub(crate) worker: Option<String>,
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
