//! What an import may lay over a document: never an older token over a newer one.
//!
//! A token that Evergrant has exchanged is spent, and to present it again may revoke the whole grant.
//! So the state of a document remembers the last tokens that Evergrant has sent or received for it, each
//! as a mark of 52 bits. A token that is remembered, and that the document does not hold, is an older one.
//! One that is not is new, as long as nothing has been forgotten yet.

use super::marks::BEGINNING;

/// The document that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExistingTokens {
    /// How often Evergrant has refreshed it.
    pub generation: u64,
    /// It needs sign-in, failed, or has no token: whatever is new can only help.
    pub has_ended: bool,
    /// Marks of the tokens that Evergrant has used or received; [`BEGINNING`] as well unless some may be
    /// missing.
    pub marks: Vec<i64>,
}

/// What is to be laid over it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportedTokens {
    /// The mark of its refresh token, if it brings another than the document holds.
    pub other_token: Option<i64>,
    /// It brings another access token than the document holds.
    pub other_access_token: bool,
    /// The generation in the state that it brings, if it brings one.
    pub generation: Option<u64>,
}

/// Whether what is brought may be laid over what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportAge {
    /// It is as new, or newer.
    Newer,
    /// It is older than what Evergrant has made of the document since.
    Older,
    /// Nobody can tell: more tokens came after one another than are remembered.
    Unknown,
}

/// Says whether what is brought may be laid over an adopted document.
pub fn age(held: &ExistingTokens, brought: ImportedTokens) -> ImportAge {
    // A file with Evergrant's own state says how old it is.
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
        // The provider does not rotate: the access token is the one of before.
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
    fn a_token_that_the_document_held_before_is_older() {
        for spent in ["one", "three"] {
            assert_eq!(age(&refreshed(), other(spent)), ImportAge::Older);
            let ended = ExistingTokens { has_ended: true, ..refreshed() };
            assert_eq!(age(&ended, other(spent)), ImportAge::Older);
            let never_refreshed = ExistingTokens { generation: 0, ..refreshed() };
            assert_eq!(age(&never_refreshed, other(spent)), ImportAge::Older);
        }
    }

    #[test]
    fn a_token_that_it_never_held_is_a_new_sign_in() {
        assert_eq!(age(&refreshed(), other("new")), ImportAge::Newer);
        assert_eq!(age(&ExistingTokens::default(), other("new")), ImportAge::Newer);
    }

    #[test]
    fn where_tokens_were_forgotten_only_one_that_has_ended_takes_an_unknown_one() {
        let mut held = refreshed();
        held.marks.remove(0);
        assert_eq!(age(&held, other("unknown")), ImportAge::Unknown);
        held.has_ended = true;
        assert_eq!(age(&held, other("unknown")), ImportAge::Newer);
    }

    #[test]
    fn a_state_that_comes_along_says_how_old_the_file_is() {
        let of = |generation| ImportedTokens { generation: Some(generation), ..other("unknown") };
        let mut held = refreshed();
        held.marks.clear();
        assert_eq!(age(&held, of(2)), ImportAge::Older);
        assert_eq!(age(&held, of(3)), ImportAge::Unknown);
        assert_eq!(age(&held, of(4)), ImportAge::Newer);
    }

    #[test]
    fn an_access_token_of_before_is_older_where_the_refresh_token_stays() {
        let access = ImportedTokens { other_access_token: true, ..ImportedTokens::default() };
        assert_eq!(age(&refreshed(), access), ImportAge::Older);
        assert_eq!(age(&ExistingTokens::default(), access), ImportAge::Newer);
        assert_eq!(age(&refreshed(), ImportedTokens::default()), ImportAge::Newer);
    }
}
