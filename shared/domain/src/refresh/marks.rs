//! Marks: what a document remembers of the tokens that Evergrant has sent or received for it.

use secrecy::SecretString;

use crate::fingerprint::fingerprint;

/// How many tokens a document remembers.
pub const REMEMBERED: usize = 32;

/// The first mark of a document that has remembered every token since it was adopted.
pub const BEGINNING: i64 = 0;

/// The mark of a refresh token: the first 52 bits of its fingerprint, which every language reads as
/// a whole number. None stands for a document without a token.
pub fn mark(refresh_token: Option<&SecretString>) -> i64 {
    mark_of_fingerprint(&refresh_token.map_or_else(|| fingerprint(&"".into()), fingerprint))
}

/// The mark of a token whose [`fingerprint`] is known.
pub fn mark_of_fingerprint(fingerprint: &str) -> i64 {
    let digits = fingerprint.get(..13).unwrap_or_default();
    i64::from_str_radix(digits, 16).unwrap_or_default().max(1)
}

/// The marks of a document of this generation after the token of `used` was exchanged or died, and
/// after it got the token of `brought`, if any. The oldest are dropped.
pub fn remembered(
    marks: &[i64],
    generation: Option<u64>,
    used: i64,
    brought: Option<i64>,
) -> Vec<i64> {
    let begins = marks.is_empty() && generation == Some(0);
    let beginning = begins.then_some(BEGINNING);
    let used = Some(used).filter(|used| !marks.contains(used));
    let marks = marks.iter().copied();
    let all: Vec<_> = marks.chain(beginning).chain(used).chain(brought).collect();
    let forgotten = all.len().saturating_sub(REMEMBERED);
    all.into_iter().skip(forgotten).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> i64 {
        mark(Some(&name.into()))
    }

    #[test]
    fn each_token_is_remembered_once_and_the_beginning_comes_first() {
        let [one, two] = ["one", "two"].map(token);
        let remembered =
            |marks: &[i64], generation| super::remembered(marks, Some(generation), one, Some(two));
        assert_eq!(remembered(&[], 0), [BEGINNING, one, two]);
        assert_eq!(remembered(&[], 1), [one, two]);
        assert_eq!(remembered(&[5], 0), [5, one, two]);
        assert_eq!(remembered(&[BEGINNING, one], 1), [BEGINNING, one, two]);
        assert_eq!(super::remembered(&[one], Some(1), one, None), [one]);
    }

    #[test]
    fn the_oldest_marks_are_forgotten() {
        let many: Vec<i64> = (1..=REMEMBERED as i64).collect();
        let remembered = remembered(&many, Some(9), token("one"), Some(token("two")));
        assert_eq!(remembered.len(), REMEMBERED);
        assert_eq!((remembered[0], remembered[REMEMBERED - 1]), (3, token("two")));
    }

    #[test]
    fn a_mark_is_a_whole_number_that_every_language_reads() {
        let tokens = (0..100).map(|n| token(&n.to_string()));
        assert!(tokens.clone().all(|mark| mark > 0 && mark < (1 << 53)));
        assert_eq!(tokens.collect::<std::collections::HashSet<_>>().len(), 100);
        assert_ne!(mark(None), token("one"));
    }
}
