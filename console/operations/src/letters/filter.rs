//! Filters of dead letters.

use evergrant_domain::{DeadLetter, DeadReason, DocumentId, ProviderId, Timestamp};
use serde::{Deserialize, Serialize};

/// Selects dead letters. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LetterFilter {
    /// Of this provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// Dead for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DeadReason>,
    /// Of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Of the user with this email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Of this document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<DocumentId>,
    /// Last failed at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Last failed at this time or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only letters of grants that live again. Otherwise these are left out, because nothing has to
    /// be done about them.
    #[serde(skip_serializing_if = "is_false")]
    pub revived: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl LetterFilter {
    /// Whether it filters nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a letter matches by its own fields, which do not include its user.
    pub(super) fn matches(&self, letter: &DeadLetter) -> bool {
        let same =
            |wanted: &Option<ProviderId>| wanted.as_ref().is_none_or(|p| *p == letter.provider);
        same(&self.provider)
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.id.as_ref().is_none_or(|id| letter.id.as_ref() == Some(id))
            && self.since.is_none_or(|since| letter.last_failed_at >= since)
            && self.until.is_none_or(|until| letter.last_failed_at <= until)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::letters) fn letter(reason: DeadReason, failed_at_ms: i64) -> DeadLetter {
        DeadLetter {
            body: Vec::new(),
            provider: "p".parse().unwrap(),
            id: Some(DocumentId::Integer(1)),
            reason,
            http_status: Some(400),
            code: None,
            description: None,
            attempts: 1,
            first_failed_at: Timestamp::from_unix_ms(0),
            last_failed_at: Timestamp::from_unix_ms(failed_at_ms),
            redrive_count: 0,
            worker: None,
        }
    }

    #[test]
    fn every_part_of_a_filter_must_match() {
        let letter = letter(DeadReason::GrantDead, 5_000);
        let at = |ms| Some(Timestamp::from_unix_ms(ms));
        let filter = |change: fn(&mut LetterFilter)| {
            let mut filter = LetterFilter::default();
            change(&mut filter);
            filter
        };
        assert!(LetterFilter::default().is_empty());
        assert!(LetterFilter::default().matches(&letter));
        let within = LetterFilter { since: at(5_000), until: at(5_000), ..LetterFilter::default() };
        assert!(within.matches(&letter));
        for other in [
            filter(|f| f.provider = "q".parse().ok()),
            filter(|f| f.reason = Some(DeadReason::LostResponse)),
            filter(|f| f.id = Some(DocumentId::Integer(2))),
            filter(|f| f.since = Some(Timestamp::from_unix_ms(5_001))),
            filter(|f| f.until = Some(Timestamp::from_unix_ms(4_999))),
        ] {
            assert!(!other.matches(&letter), "{other:?}");
        }
    }
}
