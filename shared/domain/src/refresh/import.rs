//! Compares the age of imported tokens with those of a document: an older token never replaces a
//! newer one.
//!
//! A token that Evergrant has exchanged is spent, and presenting it again may revoke the grant. So
//! a document's state remembers the last tokens that Evergrant has sent or received for it, each as
//! a mark of 52 bits. A remembered token that the document no longer holds is older. An unknown one
//! is new, as long as no mark was dropped.

use super::marks::BEGINNING;

/// The existing document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExistingTokens {
    /// How often Evergrant has refreshed it.
    pub generation: u64,
    /// Whether it needs sign-in, has failed, or has no token: any unknown token can only improve
    /// it.
    pub has_ended: bool,
    /// Marks of the tokens that Evergrant has used or received; includes [`BEGINNING`] unless some
    /// may be missing.
    pub marks: Vec<i64>,
}

/// The imported document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportedTokens {
    /// The mark of its refresh token, if that differs from the document's.
    pub other_token: Option<i64>,
    /// Whether its access token differs from the document's.
    pub other_access_token: bool,
    /// The generation in its state, if it has one.
    pub generation: Option<u64>,
}

/// Whether imported tokens may replace existing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportAge {
    /// It is as new, or newer.
    Newer,
    /// It is older than what Evergrant has written since.
    Older,
    /// Unknown: there were more tokens than are remembered.
    Unknown,
}

/// Decides whether imported tokens may replace those of an adopted document.
pub fn age(held: &ExistingTokens, brought: ImportedTokens) -> ImportAge {
    // A file with Evergrant's own state shows its age.
    match brought.generation.map(|generation| generation.cmp(&held.generation)) {
        Some(std::cmp::Ordering::Less) => return ImportAge::Older,
        Some(std::cmp::Ordering::Greater) => return ImportAge::Newer,
        _ => {}
    }
    match brought.other_token {
        Some(token) if held.marks.contains(&token) => ImportAge::Older,
        Some(_) if held.generation == 0 || held.has_ended => ImportAge::Newer,
        Some(_) if held.marks.contains(&BEGINNING) => ImportAge::Newer,
        Some(_) => ImportAge::Unknown,
        // The provider does not rotate: the access token is an earlier one.
        None if brought.other_access_token && held.generation > 0 => ImportAge::Older,
        None => ImportAge::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::mark;

    fn token(name: &str) -> i64 {
        mark(Some(&name.into()))
    }

    fn other(name: &str) -> ImportedTokens {
        ImportedTokens { other_token: Some(token(name)), ..ImportedTokens::default() }
    }

    /// A document that was refreshed three times.
    fn refreshed() -> ExistingTokens {
        let marks = vec![BEGINNING, token("one"), token("two"), token("three")];
        ExistingTokens { generation: 3, has_ended: false, marks }
    }

    #[test]
    fn a_formerly_held_token_is_older() {
        for spent in ["one", "three"] {
            assert_eq!(age(&refreshed(), other(spent)), ImportAge::Older);
            let ended = ExistingTokens { has_ended: true, ..refreshed() };
            assert_eq!(age(&ended, other(spent)), ImportAge::Older);
            let never_refreshed = ExistingTokens { generation: 0, ..refreshed() };
            assert_eq!(age(&never_refreshed, other(spent)), ImportAge::Older);
        }
    }

    #[test]
    fn an_unknown_token_is_a_new_sign_in() {
        assert_eq!(age(&refreshed(), other("new")), ImportAge::Newer);
        assert_eq!(age(&ExistingTokens::default(), other("new")), ImportAge::Newer);
    }

    #[test]
    fn with_forgotten_tokens_only_ended_grants_take_unknown_ones() {
        let mut held = refreshed();
        held.marks.remove(0);
        assert_eq!(age(&held, other("unknown")), ImportAge::Unknown);
        held.has_ended = true;
        assert_eq!(age(&held, other("unknown")), ImportAge::Newer);
    }

    #[test]
    fn an_imported_state_shows_the_files_age() {
        let of = |generation| ImportedTokens { generation: Some(generation), ..other("unknown") };
        let mut held = refreshed();
        held.marks.clear();
        assert_eq!(age(&held, of(2)), ImportAge::Older);
        assert_eq!(age(&held, of(3)), ImportAge::Unknown);
        assert_eq!(age(&held, of(4)), ImportAge::Newer);
    }

    #[test]
    fn an_earlier_access_token_is_older_without_rotation() {
        let access = ImportedTokens { other_access_token: true, ..ImportedTokens::default() };
        assert_eq!(age(&refreshed(), access), ImportAge::Older);
        assert_eq!(age(&ExistingTokens::default(), access), ImportAge::Newer);
        assert_eq!(age(&refreshed(), ImportedTokens::default()), ImportAge::Newer);
    }
}
