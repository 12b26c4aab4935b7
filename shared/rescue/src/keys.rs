//! The keys that seal answers.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The bytes of a key.
const KEY_BYTES: usize = 32;
/// The bytes of a nonce: long enough that random ones do not repeat.
const NONCE_BYTES: usize = 24;

/// Text that is not a key. The error quotes nothing of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it must be 32 random bytes in base64; make one with: openssl rand -base64 32")]
pub struct InvalidKey;

/// One key seals; it and earlier ones open, so that a key can be replaced at any time.
#[derive(Clone)]
pub struct SealingKeys {
    /// The present one first.
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    /// The beginning of its fingerprint, which reveals nothing about the key.
    name: String,
    cipher: XChaCha20Poly1305,
}

impl SealingKeys {
    /// Decodes keys from base64: one that seals, and others that only open.
    ///
    /// # Errors
    /// [`InvalidKey`] if one of them is invalid.
    pub fn new(present: &SecretString, earlier: &[SecretString]) -> Result<Self, InvalidKey> {
        let keys = std::iter::once(present).chain(earlier).map(Key::read);
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    /// A new random key in base64.
    pub fn generate() -> SecretString {
        SecretString::from(STANDARD.encode(chacha20poly1305::Key::generate()))
    }

    /// Seals `plain` and binds it to `context`. Returns the key's name and the sealed text.
    pub(super) fn seal(&self, context: &[u8], plain: &[u8]) -> Option<(String, String)> {
        let key = self.keys.first()?;
        let nonce = XNonce::generate();
        let payload = Payload { msg: plain, aad: context };
        let mut sealed = nonce.to_vec();
        sealed.extend(key.cipher.encrypt(&nonce, payload).ok()?);
        Some((key.name.clone(), STANDARD.encode(sealed)))
    }

    /// Opens what the key of this name has sealed for `context`. None if there is no such key.
    pub(super) fn open(
        &self,
        name: &str,
        context: &[u8],
        sealed: &str,
    ) -> Option<Result<Zeroizing<Vec<u8>>, DamagedSeal>> {
        let key = self.keys.iter().find(|key| key.name == name)?;
        Some(key.open(context, sealed))
    }
}

/// The sealed text was changed, or is bound to something else.
pub(super) struct DamagedSeal;

impl Key {
    fn read(text: &SecretString) -> Result<Self, InvalidKey> {
        let decoded = STANDARD.decode(text.expose_secret().trim()).map_err(|_| InvalidKey)?;
        let bytes = Zeroizing::new(decoded);
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| InvalidKey)?;
        debug_assert_eq!(bytes.len(), KEY_BYTES);
        let mut hash = Sha256::new();
        hash.update(b"evergrant rescue key\0");
        hash.update(bytes.as_slice());
        let name = hash.finalize().iter().take(8).fold(String::new(), |mut hex, byte| {
            use fmt::Write;
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Ok(Self { name, cipher })
    }

    fn open(&self, context: &[u8], sealed: &str) -> Result<Zeroizing<Vec<u8>>, DamagedSeal> {
        let sealed = STANDARD.decode(sealed).map_err(|_| DamagedSeal)?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or(DamagedSeal)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| DamagedSeal)?;
        let payload = Payload { msg: sealed, aad: context };
        self.cipher.decrypt(&nonce, payload).map(Zeroizing::new).map_err(|_| DamagedSeal)
    }
}

impl fmt::Debug for SealingKeys {
    /// Prints only their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_keys_are_valid_and_distinct() {
        let (one, other) = (SealingKeys::generate(), SealingKeys::generate());
        assert!(SealingKeys::new(&one, &[]).is_ok());
        assert_ne!(one.expose_secret(), other.expose_secret());
    }

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        for wrong in ["", "secret", "AAAA", "not base64 at all, but long enough for a key it seems"]
        {
            let error = SealingKeys::new(&wrong.into(), &[]).unwrap_err();
            assert!(!error.to_string().contains("long enough"));
        }
        assert!(SealingKeys::new(&STANDARD.encode([7; 32]).into(), &[]).is_ok());
    }
}
