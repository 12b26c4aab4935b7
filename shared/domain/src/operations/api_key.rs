//! API keys of the gateway: who may do what to which grants.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::document_id::encode_hex;
use crate::prefix_pattern::matches_pattern;
use crate::{ProviderId, Timestamp};

/// What a key's text begins with, so that scanners for leaked secrets find it.
const KEY_PREFIX: &str = "evg_";
/// The longest name.
const NAME_MAX: usize = 64;
/// Secrets of one key that are valid at once: the new one, and the old one until it is replaced everywhere.
const SECRETS_MAX: usize = 2;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// See what state a grant is in.
    Status,
    /// Get access tokens, and have them refreshed.
    Token,
    /// Put new tokens in after a sign-in, and have grants forgotten.
    Write,
}

impl KeyScope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Status, Self::Token, Self::Write];

    /// The name in the store and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Token => "token",
            Self::Write => "write",
        }
    }
}

impl std::fmt::Display for KeyScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for KeyScope {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == name);
        found.ok_or("a scope is status, token or write")
    }
}

/// One secret of a key, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySecret {
    /// SHA-256 of the key's text, in hexadecimal. The text has 244 random bits, so nothing slower is needed.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; None for one that does not end by itself.
    pub expires_at: Option<Timestamp>,
}

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its name, by which it is listed, audited and revoked.
    pub name: String,
    /// Its secrets; the newest is the last.
    pub secrets: Vec<KeySecret>,
    /// What its holder may do.
    pub scopes: Vec<KeyScope>,
    /// At which providers; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ProviderId>,
    /// To whose grants: user ids, each with an optional `*` at its end; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

impl ApiKey {
    /// A key with one secret.
    pub fn new(name: String, secret: KeySecret, scopes: Vec<KeyScope>) -> Self {
        Self { name, secrets: vec![secret], scopes, providers: Vec::new(), users: Vec::new() }
    }

    /// Whether its secret has this hash and is valid at `now`.
    pub fn admits(&self, hash: &str, now: Timestamp) -> bool {
        let is_valid = |secret: &KeySecret| secret.expires_at.is_none_or(|end| now < end);
        self.secrets.iter().any(|secret| secret.hash == hash && is_valid(secret))
    }

    /// Whether its holder may do this.
    pub fn may(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether a grant is within its reach.
    pub fn covers(&self, provider: Option<&ProviderId>, user: Option<&str>) -> bool {
        let is_provider = |provider| self.providers.contains(provider);
        let is_user = |user: &str| self.users.iter().any(|pattern| matches_pattern(pattern, user));
        (self.providers.is_empty() || provider.is_some_and(is_provider))
            && (self.users.is_empty() || user.is_some_and(is_user))
    }

    /// Adds a secret. The one before it stays valid for `overlap`, so that its holders can be given the new
    /// one; older ones end at once.
    pub fn rotate(&mut self, secret: KeySecret, overlap: Duration) {
        let end = secret.created_at.plus(overlap);
        if let Some(last) = self.secrets.last_mut() {
            last.expires_at = Some(last.expires_at.map_or(end, |earlier| earlier.min(end)));
        }
        self.secrets.push(secret);
        let oldest = self.secrets.len().saturating_sub(SECRETS_MAX);
        self.secrets.drain(..oldest);
    }
}

/// The text of a key: what its holder keeps.
///
/// # Errors
/// If the name has other characters than small letters, digits and hyphens, or is too long.
pub fn key_text(name: &str, random: &str) -> Result<String, &'static str> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
        return Err("a key's name has 1 to 64 small letters, digits and hyphens");
    }
    Ok(format!("{KEY_PREFIX}{name}_{random}"))
}

/// The name in a key's text. None if it is no key of ours.
pub fn key_name(text: &str) -> Option<&str> {
    Some(text.strip_prefix(KEY_PREFIX)?.rsplit_once('_')?.0)
}

/// The hash of a key's text.
pub fn key_hash(text: &str) -> String {
    encode_hex(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn secret(text: &str, created_at: Timestamp) -> KeySecret {
        KeySecret { hash: key_hash(text), created_at, expires_at: None }
    }

    fn key() -> ApiKey {
        ApiKey::new("billing".to_owned(), secret("one", NOW), vec![KeyScope::Token])
    }

    #[test]
    fn a_keys_text_holds_its_name() {
        let text = key_text("billing-2", "0123").unwrap();
        assert_eq!(text, "evg_billing-2_0123");
        assert_eq!(key_name(&text), Some("billing-2"));
        for foreign in ["", "evg_", "evg_x", "sk_billing_0123", "billing_0123"] {
            assert_eq!(key_name(foreign), None, "{foreign}");
        }
        for name in ["", "Upper", "under_score", "a b", &"x".repeat(65)] {
            assert!(key_text(name, "0").is_err(), "{name}");
        }
    }

    #[test]
    fn only_its_own_secret_opens_a_key() {
        assert!(key().admits(&key_hash("one"), NOW));
        assert!(!key().admits(&key_hash("two"), NOW));
        assert!(!key().admits("one", NOW));
    }

    #[test]
    fn a_rotated_key_has_two_secrets_for_a_while() {
        let mut key = key();
        key.rotate(secret("two", NOW.plus(DAY)), DAY);
        let admits = |key: &ApiKey, text: &str, at| key.admits(&key_hash(text), at);
        assert!(admits(&key, "one", NOW.plus(DAY)) && admits(&key, "two", NOW.plus(DAY)));
        assert!(!admits(&key, "one", NOW.plus(2 * DAY)) && admits(&key, "two", NOW.plus(2 * DAY)));
        key.rotate(secret("three", NOW.plus(DAY)), DAY);
        assert!(!admits(&key, "one", NOW.plus(DAY)), "two are enough");
        assert!(admits(&key, "two", NOW.plus(DAY)) && admits(&key, "three", NOW.plus(DAY)));
    }

    #[test]
    fn a_secret_that_ends_earlier_is_not_prolonged_by_a_rotation() {
        let mut key = key();
        key.secrets[0].expires_at = Some(NOW.plus(DAY));
        key.rotate(secret("two", NOW), 2 * DAY);
        assert!(!key.admits(&key_hash("one"), NOW.plus(DAY)));
    }

    #[test]
    fn a_key_reaches_the_grants_that_it_names() {
        let (p, q): (ProviderId, ProviderId) = ("p".parse().unwrap(), "q".parse().unwrap());
        assert!(key().covers(None, None));
        let of_provider = ApiKey { providers: vec![p.clone()], ..key() };
        assert!(of_provider.covers(Some(&p), None));
        assert!(!of_provider.covers(Some(&q), None) && !of_provider.covers(None, None));
        let users = vec!["alice".to_owned(), "team-*".to_owned()];
        let of_users = ApiKey { users, ..key() };
        assert!(of_users.covers(None, Some("alice")) && of_users.covers(None, Some("team-7")));
        assert!(!of_users.covers(None, Some("alice2")) && !of_users.covers(None, None));
    }
}
