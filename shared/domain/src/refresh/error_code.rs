//! Cleans a provider's error codes and texts, so that they are safe to store, log and show.

use crate::ExchangeSecrets;

const CODE_CHARS_MAX: usize = 64;
const DESCRIPTION_CHARS_MAX: usize = 240;
/// Runs of token characters of at least this length may be a secret; words are shorter.
const MIN_SECRET_CHARS: usize = 20;
/// This many hexadecimal digits in a row are not a code.
const MIN_RANDOM_CHARS: usize = 12;

/// An error code as it may be stored. Codes of RFC 6749 are short words, so anything else is
/// replaced by `unrecognised`: it could be a token.
pub fn clean_code(code: &str, secrets: &ExchangeSecrets<'_>) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let longest = code.split(['_', '-', '.', ':']).map(str::len).max().unwrap_or(0);
    let plain = !code.is_empty() && code.len() <= CODE_CHARS_MAX && code.chars().all(word);
    let is_told = plain && longest < MIN_SECRET_CHARS && !is_random(code);
    if is_told && secrets.redact(code) == code {
        code.to_owned()
    } else {
        "unrecognised".to_owned()
    }
}

/// Whether it has as many hexadecimal digits in a row, ignoring dashes, as identifiers and tokens
/// have.
fn is_random(code: &str) -> bool {
    let has_digit = |run: &str| run.chars().any(|c| c.is_ascii_digit());
    let plain: String = code.chars().filter(|c| *c != '-').collect();
    plain
        .split(|c: char| !c.is_ascii_hexdigit())
        .any(|run| run.len() >= MIN_RANDOM_CHARS && has_digit(run))
}

/// A description as it may be stored: one line without control characters, shortened. Any of the
/// `secrets`, and anything that could be another token, is replaced by `[redacted]`.
pub fn clean_description(description: &str, secrets: &ExchangeSecrets<'_>) -> String {
    let mut clean = String::new();
    let mut run = String::new();
    // The bound also limits the work on a hostile answer.
    let bounded: String = description.chars().take(4 * DESCRIPTION_CHARS_MAX).collect();
    for c in secrets.redact(&bounded).chars() {
        if is_token_char(c) {
            run.push(c);
        } else {
            push_run(&mut clean, &mut run);
            clean.push(if c.is_control() || c.is_whitespace() { ' ' } else { c });
        }
    }
    push_run(&mut clean, &mut run);
    let clean = clean.trim();
    if clean.chars().count() <= DESCRIPTION_CHARS_MAX {
        return clean.to_owned();
    }
    clean.chars().take(DESCRIPTION_CHARS_MAX).chain(std::iter::once('…')).collect()
}

/// The characters of a bearer token (RFC 6750 §2.1), `%` of URL encoding, and those of other
/// tokens.
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '=' | '%' | '!' | '*' | '$' | '|')
}

fn push_run(clean: &mut String, run: &mut String) {
    clean.push_str(if run.len() < MIN_SECRET_CHARS { run } else { "[redacted]" });
    run.clear();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_of_real_providers_pass() {
        for code in ["invalid_grant", "BAD_REFRESH_TOKEN", "AUTH-003", "bad_refresh_token", "4705"]
        {
            assert_eq!(clean_code(code, &ExchangeSecrets::default()), code);
        }
    }

    #[test]
    fn what_is_no_code_is_not_stored() {
        for code in [
            "",
            "a b",
            "<script>",
            "eyJhbGciOiJSUzI1NiJ9eyJzdWIi",
            &"a".repeat(65),
            "7d9f0c3e-1b2a-4c5d-8e9f-0a1b2c3d4e5f",
            "0123456789abcdef",
        ] {
            assert_eq!(clean_code(code, &ExchangeSecrets::default()), "unrecognised", "{code:?}");
        }
    }

    #[test]
    fn what_was_sent_is_no_code() {
        let token = "short_one".into();
        let secrets = ExchangeSecrets::sent(&token, "client", None);
        assert_eq!(clean_code("short_one", &secrets), "unrecognised");
        assert_eq!(clean_description("no short_one here", &secrets), "no [redacted] here");
    }

    #[test]
    fn a_description_keeps_its_words_on_one_line() {
        assert_eq!(
            clean_description(
                "Token has been expired\r\n or \u{1b}[31mrevoked.",
                &ExchangeSecrets::default()
            ),
            "Token has been expired   or  [31mrevoked."
        );
    }

    proptest! {
        #[test]
        fn a_token_in_a_description_is_redacted(
            before in "[a-z ]{0,40}", token in "[A-Za-z0-9_/+.-]{20,60}", after in "[ a-z]{0,40}"
        ) {
            let clean = clean_description(&format!("{before}'{token}'{after}"), &ExchangeSecrets::default());
            prop_assert!(!clean.contains(&token));
            prop_assert!(clean.contains("[redacted]"));
        }

        #[test]
        fn no_description_is_long_or_has_control_characters(text in any::<String>()) {
            let clean = clean_description(&text.repeat(20), &ExchangeSecrets::default());
            prop_assert!(clean.chars().count() <= DESCRIPTION_CHARS_MAX + 1);
            prop_assert!(!clean.chars().any(char::is_control));
        }
    }
}
