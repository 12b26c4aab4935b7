//! Twins: two documents with the same refresh token.
//!
//! Only one of them may be exchanged. A provider that rotates takes the other one's request for the
//! use of a stolen token and revokes both. So the first exchange of a new document is noted under
//! its token's fingerprint, and a claim that finds a note for another document sends nothing.

use crate::fingerprint::fingerprint;
use crate::{ClaimedDocument, DocumentId, GrantStatus, ProviderId};

/// The document for which a refresh token was noted first, in its present state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstHolder {
    /// How many times Evergrant has refreshed it.
    pub generation: u64,
    /// The [`fingerprint`] of its token, if it has one.
    pub holds: Option<String>,
}

impl FirstHolder {
    /// Whether the token with this fingerprint is still its own: it holds the token, or it may have
    /// exchanged it.
    pub fn keeps(&self, fingerprint: &str) -> bool {
        self.generation > 0 || self.holds.as_deref() == Some(fingerprint)
    }
}

/// A token that a claim is about to exchange for the first time. Later tokens come from the
/// provider itself, for this document alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstUse {
    provider: ProviderId,
    /// Its [`fingerprint`].
    pub fingerprint: String,
}

impl FirstUse {
    /// The key of the note.
    pub fn key(&self) -> String {
        format!("{}/{}", self.provider, self.fingerprint)
    }

    /// The claimed document if another one had the token first.
    pub fn twin_of(self, first: DocumentId) -> ClaimedDocument {
        ClaimedDocument::Twin { of: first, fingerprint: self.fingerprint, owned: true }
    }
}

impl ClaimedDocument {
    /// The token, if the claim is about to exchange it for the first time.
    pub fn first_use(&self) -> Option<FirstUse> {
        let Self::Present { grant, owned: true, .. } = self else { return None };
        let is_first = grant.generation == 0 && grant.status == GrantStatus::Active;
        is_first.then(|| FirstUse {
            provider: grant.provider.clone(),
            fingerprint: fingerprint(&grant.refresh_token),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Grant, Timestamp};

    fn row(grant: Grant, owned: bool) -> ClaimedDocument {
        ClaimedDocument::Present { grant, lease: None, owned }
    }

    fn new() -> Grant {
        Grant { generation: 0, ..Grant::example(Timestamp::default()) }
    }

    #[test]
    fn only_the_first_exchange_of_a_document_is_noted() {
        assert!(row(new(), true).first_use().is_some());
        assert_eq!(row(new(), false).first_use(), None);
        assert_eq!(row(Grant { generation: 1, ..new() }, true).first_use(), None);
        assert_eq!(row(Grant { status: GrantStatus::Paused, ..new() }, true).first_use(), None);
    }

    #[test]
    fn a_token_stays_with_its_holder_or_exchanger() {
        let holder =
            |generation, holds: &str| FirstHolder { generation, holds: Some(holds.into()) };
        assert!(holder(0, "it").keeps("it"));
        assert!(holder(1, "its successor").keeps("it"));
        assert!(!holder(0, "of a new sign-in").keeps("it"));
    }
}
