//! A client that authenticates by a signed assertion (RFC 7523 §2.2).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde_json::Value;

/// The longest time for which a provider takes an assertion, in seconds.
const ASSERTION_S_MAX: u64 = 600;

/// A key pair of a client, made for a test.
#[derive(Clone)]
pub struct ClientKey {
    /// The private key as PEM, for the client.
    pub private_pem: String,
    public: Vec<u8>,
}

impl std::fmt::Debug for ClientKey {
    /// Shows no key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKey")
    }
}

impl ClientKey {
    /// A new pair on the curve P-256. None if this machine gives no randomness.
    pub fn generate() -> Option<Self> {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let private = EcdsaKeyPair::generate_pkcs8(kind, &random).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(kind, private.as_ref(), &random).ok()?;
        let text = STANDARD.encode(private.as_ref());
        let private_pem =
            format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        Some(Self { private_pem, public: pair.public_key().as_ref().to_vec() })
    }
}

/// Who an assertion must be of, and for whom.
pub(super) struct WantedAssertion<'a> {
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
    pub(super) audience: Option<&'a str>,
    pub(super) key: Option<&'a ClientKey>,
    pub(super) now_us: u64,
}

impl WantedAssertion<'_> {
    /// Checks an assertion: its claims, and its signature where the client's key is known.
    pub(super) fn check(&self, assertion: &str) -> Result<(), &'static str> {
        let parts: Vec<&str> = assertion.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return Err("the client_assertion is no signed JWT");
        };
        let (header, claims) = (json(header), json(claims));
        if !["ES256", "RS256"].iter().any(|known| header["alg"] == *known) {
            return Err("the client_assertion is signed in no way that is known");
        }
        let now_s = self.now_us / 1_000_000;
        let end_s = claims["exp"].as_u64().unwrap_or_default();
        if claims["iss"] != self.issuer {
            return Err("the issuer (iss) of the client_assertion is another one");
        }
        if claims["sub"] != self.subject {
            return Err("the subject (sub) of the client_assertion is not the client's id");
        }
        if self.audience.is_some_and(|audience| claims["aud"] != audience) {
            return Err("the audience (aud) of the client_assertion is another one");
        }
        if !(now_s..=now_s + ASSERTION_S_MAX).contains(&end_s) {
            return Err("the client_assertion has ended, or is valid for too long");
        }
        let Some(key) = self.key else { return Ok(()) };
        let signed = assertion.rsplit_once('.').map_or("", |(signed, _)| signed);
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.public);
        let wrong = |_| "the signature of the client_assertion is wrong";
        key.verify(signed.as_bytes(), &signature).map_err(wrong)
    }
}

/// A part of a JWT. What is none is null.
pub(super) fn json(part: &str) -> Value {
    let text = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
