//! What stands for a refresh token where the token itself must not be.

use std::fmt::Write;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What is remembered of a dead refresh token, to see later that the user has signed in again: the
/// first 128 bits of its SHA-256 in hexadecimal. It cannot be turned back into the token.
pub fn fingerprint(refresh_token: &SecretString) -> String {
    let digest = Sha256::digest(refresh_token.expose_secret());
    digest.iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_tokens_apart_and_hides_them() {
        let one = fingerprint(&"token-one".into());
        assert_eq!(one.len(), 32);
        assert_eq!(one, fingerprint(&"token-one".into()));
        assert_ne!(one, fingerprint(&"token-two".into()));
    }
}
