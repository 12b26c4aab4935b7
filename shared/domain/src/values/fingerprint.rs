//! Fingerprints: hashes that represent refresh tokens where the tokens themselves must not appear.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::document_id::encode_hex;

/// The fingerprint of a refresh token: the first 128 bits of its SHA-256 in hexadecimal. It shows
/// whether a user has signed in again, and the token cannot be recovered from it.
pub fn fingerprint(refresh_token: &SecretString) -> String {
    encode_hex(&Sha256::digest(refresh_token.expose_secret())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_distinguishes_tokens_and_hides_them() {
        let one = fingerprint(&"token-one".into());
        assert_eq!(one.len(), 32);
        assert_eq!(one, fingerprint(&"token-one".into()));
        assert_ne!(one, fingerprint(&"token-two".into()));
    }
}
