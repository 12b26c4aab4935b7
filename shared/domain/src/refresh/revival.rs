//! Decides when an ended grant is revived automatically.

use crate::{FailureKind, GrantStatus};

/// An ended document, as a sweep finds it.
#[derive(Debug, Clone)]
pub struct EndedDocument {
    /// How it ended.
    pub status: GrantStatus,
    /// Why it ended, if the document says so.
    pub reason: Option<FailureKind>,
    /// The [`fingerprint`](crate::fingerprint::fingerprint) of the token that ended. None if there
    /// was no readable token.
    pub ended_with: Option<String>,
    /// The fingerprint of its present token, if there is one.
    pub holds: Option<String>,
    /// Whether the document can be read as a grant.
    pub is_readable: bool,
}

impl EndedDocument {
    /// Whether it still holds the token that ended, so that a death which is no longer believed can
    /// be revoked.
    pub fn holds_what_ended(&self) -> bool {
        self.holds.is_some() && self.holds == self.ended_with
    }

    /// Whether it should be refreshed again: its user has signed in again, or the application has
    /// repaired it.
    pub fn lives_again(&self) -> bool {
        let Some(holds) = &self.holds else { return false };
        let is_other = |ended_with: &String| ended_with != holds;
        match self.status {
            GrantStatus::Active | GrantStatus::Paused => false,
            GrantStatus::NoToken => true,
            GrantStatus::NeedsReauth => self.ended_with.as_ref().is_some_and(is_other),
            // For any other reason, the answer to the token that it still holds may be in a dead
            // letter.
            GrantStatus::Failed => {
                let was_malformed = matches!(self.reason, Some(FailureKind::Malformed) | None);
                self.ended_with.as_ref().is_some_and(is_other) || was_malformed && self.is_readable
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: GrantStatus, ended_with: Option<&str>, holds: Option<&str>) -> EndedDocument {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let (ended_with, holds) = (text(ended_with), text(holds));
        EndedDocument { status, reason: None, ended_with, holds, is_readable: true }
    }

    #[test]
    fn a_new_token_revives_an_ended_grant() {
        for status in [GrantStatus::NeedsReauth, GrantStatus::Failed] {
            let reason = Some(FailureKind::AttemptsExhausted);
            let ended = |token| EndedDocument { reason, ..ended(status, Some("old"), Some(token)) };
            assert!(ended("new").lives_again(), "{status}");
            assert!(!ended("old").lives_again(), "{status}");
        }
    }

    #[test]
    fn no_token_is_nothing_to_take_up() {
        for status in GrantStatus::ALL {
            assert!(!ended(status, Some("old"), None).lives_again(), "{status}");
        }
    }

    #[test]
    fn a_token_where_there_was_none_lives() {
        for status in [GrantStatus::NoToken, GrantStatus::Failed] {
            assert!(ended(status, None, Some("new")).lives_again(), "{status}");
        }
    }

    #[test]
    fn a_repaired_document_revives_with_the_same_token() {
        let malformed = Some(FailureKind::Malformed);
        let same = ended(GrantStatus::Failed, Some("same"), Some("same"));
        let repaired = EndedDocument { reason: malformed, ..same.clone() };
        assert!(repaired.lives_again());
        assert!(!EndedDocument { is_readable: false, ..repaired }.lives_again());
        for other in
            [FailureKind::AttemptsExhausted, FailureKind::Transient, FailureKind::Unsendable]
        {
            assert!(!EndedDocument { reason: Some(other), ..same.clone() }.lives_again());
        }
    }

    #[test]
    fn an_unreadable_document_stays_failed() {
        let unreadable = ended(GrantStatus::Failed, None, Some("new"));
        assert!(!EndedDocument { is_readable: false, ..unreadable }.lives_again());
    }

    #[test]
    fn what_has_not_ended_is_left_alone() {
        for status in [GrantStatus::Active, GrantStatus::Paused] {
            assert!(!ended(status, Some("old"), Some("new")).lives_again(), "{status}");
        }
    }
}
