//! Common passwords, which attackers try first.
//!
//! The list is short, because an attacker has a few tries a minute. It holds common passwords of
//! sufficient length, and words to which people add digits and marks.

/// Whole passwords, in lower case.
const COMMON: &str = include_str!("common_passwords.txt");
/// The fewest different characters of a password.
const FEWEST_DIFFERENT: usize = 5;

/// Whether a user of this name may not have this password, because it is among the first that
/// attackers try.
pub(super) fn is_common(password: &str, name: &str) -> bool {
    let password = password.to_lowercase();
    let name = name.to_lowercase();
    // Digits and marks at either end do not make a word a password.
    let word = password.trim_matches(|c: char| !c.is_alphabetic());
    let own = |own: &str| password == own || (!word.is_empty() && word == own);
    let mailbox = name.split('@').next().unwrap_or_default();
    own(&name)
        || own(mailbox)
        || own(name.trim_matches(|c: char| !c.is_alphabetic()))
        || COMMON.lines().any(own)
        || is_row(&password)
        || different(&password) < FEWEST_DIFFERENT
}

fn different(password: &str) -> usize {
    password.chars().collect::<std::collections::BTreeSet<_>>().len()
}

/// Whether each character follows the one before, up or down: `abcdefghij`, `9876543210`.
fn is_row(password: &str) -> bool {
    let codes: Vec<i64> = password.chars().map(|c| i64::from(u32::from(c))).collect();
    let steps = |by: i64| codes.windows(2).all(|pair| pair[1] - pair[0] == by);
    steps(1) || steps(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_common() {
        for common in [
            "1234567890",
            "0987654321",
            "Passw0rd123",
            "password2026!",
            "qwertyuiop",
            "correcthorsebatterystaple",
            "aaaaaaaaaaaaaaaa",
            "abababababab",
            "abcdefghijkl",
            "!!Evergrant!!",
            "alice1234567890",
        ] {
            assert!(is_common(common, "alice"), "{common}");
        }
        assert!(is_common("bob@example.com", "Bob@example.com"));
        assert!(is_common("robert.smith.99", "robert.smith@example.com"));
    }

    #[test]
    fn several_words_and_random_characters_are_not_common() {
        for fine in ["correct horse battery", "another password", "T7#qm-Wz4!kd", "8503917264"] {
            assert!(!is_common(fine, "alice"), "{fine}");
        }
    }

    #[test]
    fn the_list_is_in_lower_case_without_duplicates() {
        let mut all: Vec<_> = COMMON.lines().collect();
        assert!(all.iter().all(|line| !line.is_empty() && *line == line.to_lowercase()));
        let lines = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), lines);
    }
}
