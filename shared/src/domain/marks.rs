//! What a document remembers of the tokens that Evergrant has sent or received for it.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::fingerprint::fingerprint;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> i64 {
        mark(Some(&name.into()))
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
    fn a_mark_is_a_whole_number_that_every_language_reads() {
        let tokens = (0..100).map(|n| token(&n.to_string()));
        assert!(tokens.clone().all(|mark| mark > 0 && mark < (1 << 53)));
        assert_eq!(tokens.collect::<std::collections::HashSet<_>>().len(), 100);
        assert_ne!(mark(None), token("one"));
    }
}
