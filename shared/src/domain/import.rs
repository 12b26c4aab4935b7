//! What an import may lay over a document: never an older token over a newer one.
//!
//! A token that Evergrant has exchanged is spent, and to present it again may revoke the whole grant.
//! So the state of a document remembers the last tokens that Evergrant has sent or received for it, each
//! as a mark of 52 bits. A token that is remembered, and that the document does not hold, is an older one.
//! One that is not is new, as long as nothing has been forgotten yet.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::grant::fingerprint;

/// Tokens that a document remembers.
pub const REMEMBERED: usize = 32;

/// The first mark of a document that has remembered every token since it was adopted.
pub const BEGINNING: i64 = 0;

/// What is remembered of a refresh token: the first 52 bits of its fingerprint, which every language
/// reads as a whole number. None is a document without one.
pub fn mark(refresh_token: Option<&SecretString>) -> i64 {
    mark_of_fingerprint(&refresh_token.map_or_else(|| fingerprint(&"".into()), fingerprint))
}

/// The mark of a token of which the [`fingerprint`] is known.
pub fn mark_of_fingerprint(fingerprint: &str) -> i64 {
    let digits = fingerprint.get(..13).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or_default().max(1)
}

/// What a document remembers, beside the token that it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remembers {
    /// No token yet.
    Nothing,
    /// Other tokens, or nobody knows.
    #[default]
    Others,
    /// The token that it holds as well.
    This,
}

impl Remembers {
    /// What a document with these marks remembers.
    pub fn of(marks: &[i64], held: &SecretString) -> Self {
        match marks {
            [] => Self::Nothing,
            marks if marks.contains(&mark(Some(held))) => Self::This,
            _ => Self::Others,
        }
    }

    /// The marks that a document of a generation gets beside those that it has, once the token that it
    /// held was `used` and, maybe, has brought another one.
    pub fn added(self, generation: Option<u64>, used: i64, brought: Option<i64>) -> Vec<i64> {
        let begins = self == Self::Nothing && generation == Some(0);
        let beginning = begins.then_some(BEGINNING);
        let used = Some(used).filter(|_| self != Self::This);
        beginning.into_iter().chain(used).chain(brought).collect()
    }
}

/// The document that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
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
pub struct Brought {
    /// The mark of its refresh token, if it brings another than the document holds.
    pub other_token: Option<i64>,
    /// It brings another access token than the document holds.
    pub other_access_token: bool,
    /// The generation in the state that it brings, if it brings one.
    pub generation: Option<u64>,
}

/// Whether what is brought may be laid over what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It is as new, or newer.
    Newer,
    /// It is older than what Evergrant has made of the document since.
    Older,
    /// Nobody can tell: more tokens came after one another than are remembered.
    Unknown,
}

/// Says whether what is brought may be laid over an adopted document.
pub fn age(held: &Held, brought: Brought) -> Age {
    // A file with Evergrant's own state says how old it is.
    match brought.generation.map(|generation| generation.cmp(&held.generation)) {
        Some(std::cmp::Ordering::Less) => return Age::Older,
        Some(std::cmp::Ordering::Greater) => return Age::Newer,
        _ => {}
    }
    match brought.other_token {
        Some(token) if held.marks.contains(&token) => Age::Older,
        Some(_) if held.generation == 0 || held.has_ended => Age::Newer,
        Some(_) if held.marks.contains(&BEGINNING) => Age::Newer,
        Some(_) => Age::Unknown,
        // The provider does not rotate: the access token is the one of before.
        None if brought.other_access_token && held.generation > 0 => Age::Older,
        None => Age::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> i64 {
        mark(Some(&name.into()))
    }

    fn other(name: &str) -> Brought {
        Brought { other_token: Some(token(name)), ..Brought::default() }
    }

    /// A document that was refreshed three times.
    fn refreshed() -> Held {
        let marks = vec![BEGINNING, token("one"), token("two"), token("three")];
        Held { generation: 3, has_ended: false, marks }
    }

    #[test]
    fn a_token_that_the_document_held_before_is_older() {
        for spent in ["one", "three"] {
            assert_eq!(age(&refreshed(), other(spent)), Age::Older);
            let ended = Held { has_ended: true, ..refreshed() };
            assert_eq!(age(&ended, other(spent)), Age::Older);
            let never_refreshed = Held { generation: 0, ..refreshed() };
            assert_eq!(age(&never_refreshed, other(spent)), Age::Older);
        }
    }

    #[test]
    fn each_token_is_remembered_once_and_the_beginning_comes_first() {
        let added = |remembers: Remembers, generation| {
            remembers.added(Some(generation), token("one"), Some(token("two")))
        };
        assert_eq!(added(Remembers::Nothing, 0), [BEGINNING, token("one"), token("two")]);
        assert_eq!(added(Remembers::Nothing, 1), [token("one"), token("two")]);
        assert_eq!(added(Remembers::Others, 0), [token("one"), token("two")]);
        assert_eq!(added(Remembers::This, 1), [token("two")]);
        assert!(Remembers::This.added(Some(1), token("one"), None).is_empty());
        let marks = [BEGINNING, token("one")];
        assert_eq!(Remembers::of(&marks, &"one".into()), Remembers::This);
        assert_eq!(Remembers::of(&marks, &"two".into()), Remembers::Others);
        assert_eq!(Remembers::of(&[], &"one".into()), Remembers::Nothing);
    }

    #[test]
    fn a_token_that_it_never_held_is_a_new_sign_in() {
        assert_eq!(age(&refreshed(), other("new")), Age::Newer);
        assert_eq!(age(&Held::default(), other("new")), Age::Newer);
    }

    #[test]
    fn where_tokens_were_forgotten_only_one_that_has_ended_takes_an_unknown_one() {
        let mut held = refreshed();
        held.marks.remove(0);
        assert_eq!(age(&held, other("unknown")), Age::Unknown);
        held.has_ended = true;
        assert_eq!(age(&held, other("unknown")), Age::Newer);
    }

    #[test]
    fn a_state_that_comes_along_says_how_old_the_file_is() {
        let of = |generation| Brought { generation: Some(generation), ..other("unknown") };
        let mut held = refreshed();
        held.marks.clear();
        assert_eq!(age(&held, of(2)), Age::Older);
        assert_eq!(age(&held, of(3)), Age::Unknown);
        assert_eq!(age(&held, of(4)), Age::Newer);
    }

    #[test]
    fn an_access_token_of_before_is_older_where_the_refresh_token_stays() {
        let access = Brought { other_access_token: true, ..Brought::default() };
        assert_eq!(age(&refreshed(), access), Age::Older);
        assert_eq!(age(&Held::default(), access), Age::Newer);
        assert_eq!(age(&refreshed(), Brought::default()), Age::Newer);
    }

    #[test]
    fn a_mark_is_a_whole_number_that_every_language_reads() {
        let tokens = (0..100).map(|n| token(&n.to_string()));
        assert!(tokens.clone().all(|mark| mark > 0 && mark < (1 << 53)));
        assert_eq!(tokens.collect::<std::collections::HashSet<_>>().len(), 100);
        assert_ne!(mark(None), token("one"));
    }
}
