//! Removes secrets from whatever a provider says.
//!
//! Providers repeat tokens in their errors. What was sent and what the answer holds are known, so
//! both are removed by comparison, in every encoding in which they may be repeated.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::plain_name::plain_name;

/// Parts of a secret of at least this length are removed as well.
const PART: usize = 8;
/// Shorter texts are not secrets, but would occur in any word.
const SHORTEST: usize = 4;
/// How deep an answer is searched for tokens.
const DEPTH_MAX: usize = 8;

const REDACTED: &str = "[redacted]";

/// The secrets of one exchange.
#[derive(Default)]
pub struct ExchangeSecrets<'a> {
    sent: Option<SentSecret<'a>>,
    /// The tokens in the answer.
    answered: Vec<String>,
}

struct SentSecret<'a> {
    refresh_token: &'a str,
    client_id: &'a str,
    client_secret: &'a str,
}

impl<'a> ExchangeSecrets<'a> {
    /// What was sent: a refresh token and the client's credentials.
    pub fn sent(
        refresh_token: &'a SecretString,
        client_id: &'a str,
        client_secret: Option<&'a SecretString>,
    ) -> Self {
        let refresh_token = refresh_token.expose_secret();
        let client_secret = client_secret.map_or("", |secret| secret.expose_secret());
        let sent = Some(SentSecret { refresh_token, client_id, client_secret });
        Self { sent, answered: Vec::new() }
    }

    /// Adds the values in an answer that have the name of a token.
    pub fn add_tokens_of(&mut self, answer: &Value) {
        self.add_tokens(answer, 0);
    }

    fn add_tokens(&mut self, value: &Value, depth: usize) {
        if depth >= DEPTH_MAX {
            return;
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add_tokens(item, depth + 1)),
            Value::Object(members) => {
                for (name, value) in members {
                    match value.as_str() {
                        Some(token) if plain_name(name).ends_with("token") => {
                            self.answered.push(token.to_owned());
                        }
                        _ => self.add_tokens(value, depth + 1),
                    }
                }
            }
            _ => {}
        }
    }

    /// Each secret in each encoding in which it may be repeated.
    fn forms(&self) -> Vec<Vec<u8>> {
        let mut forms = Vec::new();
        if let Some(SentSecret { refresh_token, client_id, client_secret }) = &self.sent {
            add_forms(&mut forms, refresh_token);
            add_forms(&mut forms, client_secret);
            if !client_secret.is_empty() {
                add_base64(&mut forms, &format!("{client_id}:{client_secret}"));
            }
        }
        self.answered.iter().for_each(|token| add_forms(&mut forms, token));
        forms
    }

    /// A text without the secrets, and without any part of them of eight bytes.
    pub fn redact(&self, text: &str) -> String {
        let lower = text.to_ascii_lowercase().into_bytes();
        let parts = Parts::new(&lower);
        let mut hidden = vec![false; lower.len()];
        for form in &self.forms() {
            if form.len() < PART {
                hide(&mut hidden, find_all(&lower, form), form.len());
            } else {
                form.windows(PART).for_each(|part| hide(&mut hidden, parts.places_of(part), PART));
            }
        }
        let mut clean = String::with_capacity(text.len());
        let mut in_secret = false;
        for (at, c) in text.char_indices() {
            let is_hidden = hidden[at..at + c.len_utf8()].contains(&true);
            match (is_hidden, in_secret) {
                (true, false) => clean.push_str(REDACTED),
                (true, true) => {}
                (false, _) => clean.push(c),
            }
            in_secret = is_hidden;
        }
        clean
    }
}

/// In lower case, because a host name or a header may change the case.
fn add_forms(forms: &mut Vec<Vec<u8>>, secret: &str) {
    if secret.len() < SHORTEST {
        return;
    }
    let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    forms.push(secret.to_ascii_lowercase().into_bytes());
    if encoded != secret {
        forms.push(encoded.to_ascii_lowercase().into_bytes());
    }
    add_base64(forms, secret);
}

/// The three forms of a text in Base64, depending on its position within a group of three bytes.
/// The characters at the ends that depend on neighbouring text are left out.
fn add_base64(forms: &mut Vec<Vec<u8>>, secret: &str) {
    for (before, skipped) in [(0, 0), (1, 2), (2, 3)] {
        let text = [vec![0; before], secret.as_bytes().to_vec()].concat();
        let whole = text.len() / 3 * 4;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&text).to_ascii_lowercase().into_bytes();
            let form = encoded.get(skipped..whole).unwrap_or_default();
            if form.len() >= PART {
                forms.push(form.to_vec());
            }
        }
    }
}

/// The positions of each part within a text.
struct Parts<'a>(HashMap<&'a [u8], Vec<usize>>);

impl<'a> Parts<'a> {
    fn new(text: &'a [u8]) -> Self {
        let mut parts: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (at, part) in text.windows(PART).enumerate() {
            parts.entry(part).or_default().push(at);
        }
        Self(parts)
    }

    fn places_of(&self, part: &[u8]) -> impl Iterator<Item = usize> {
        self.0.get(part).into_iter().flatten().copied()
    }
}

fn find_all<'a>(text: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let windows = text.windows(wanted.len()).enumerate();
    windows.filter(move |(_, window)| *window == wanted).map(|(at, _)| at)
}

fn hide(hidden: &mut [bool], places: impl Iterator<Item = usize>, length: usize) {
    for at in places {
        hidden[at..at + length].fill(true);
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redact(token: &str, said: &str) -> String {
        ExchangeSecrets::sent(&token.into(), "client", Some(&"client-s3cret".into())).redact(said)
    }

    #[test]
    fn a_repeated_token_is_removed_in_every_encoding() {
        for token in [
            "abcd1234EFGH5678",
            "7d9f0c3e-1b2a-4c5d-8e9f-0a1b2c3d4e5f",
            "M.C519_BAY.0.U.-ClZ!cwGhTI5ybz*nVq3!aB9*xyz12",
            "f3a9:77bd:11c0:9e2d",
            "R.u1",
        ] {
            let said = format!("cannot use '{token}' now, nor {}", token.to_uppercase());
            assert_eq!(redact(token, &said), "cannot use '[redacted]' now, nor [redacted]");
        }
    }

    #[test]
    fn the_client_secret_is_removed_also_from_its_header() {
        let header = STANDARD.encode("client:client-s3cret");
        let clean = redact("a-token", &format!("bad client-s3cret in Basic {header}"));
        assert!(clean.starts_with("bad [redacted] in Basic [redacted]"), "{clean}");
        assert!(clean.len() < "bad [redacted] in Basic [redacted]".len() + 5, "{clean}");
    }

    #[test]
    fn tokens_of_the_answer_are_taken_out() {
        let answer = json!({"data": [{"accessToken": "new!one", "id_token": "another*one"}]});
        let mut secrets = ExchangeSecrets::default();
        secrets.add_tokens_of(&answer);
        assert_eq!(secrets.redact("new!one, another*one"), "[redacted], [redacted]");
    }

    #[test]
    fn what_is_no_secret_stays() {
        let said = "Der Aktualisierungstoken ist ungültig: …";
        assert_eq!(redact("a-token-of-mine", said), said);
        assert_eq!(ExchangeSecrets::default().redact(said), said);
        assert_eq!(redact("x", "x marks the spot"), "x marks the spot");
    }

    /// Whether a text still holds this many consecutive characters of a secret.
    fn holds_part(text: &str, secret: &str) -> bool {
        let secret: Vec<char> = secret.chars().collect();
        secret.windows(PART).any(|part| text.contains(&part.iter().collect::<String>()))
    }

    proptest! {
        #[test]
        fn no_part_of_a_repeated_token_is_left(
            token in "[A-Za-z0-9._~+/=!*:|$%-]{8,80}", before in "[a-z ü]{0,12}", after in "[a-z ü]{0,12}",
            from in 0_usize..20, offset in 0_usize..3
        ) {
            let encoded: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
            let in_base64 = STANDARD.encode(format!("{}{token}", "x".repeat(offset)));
            let part = token.get(from.min(token.len() - 8)..).unwrap_or_default();
            let said = format!("{before}{token}{after} {part} {encoded} {in_base64}");
            let clean = redact(&token, &said);
            prop_assert!(!holds_part(&clean, &token), "{clean}");
            prop_assert!(!holds_part(&clean, &encoded), "{clean}");
        }
    }
}
