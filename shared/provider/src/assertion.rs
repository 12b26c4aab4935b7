//! Authentication by a key: a signed assertion that our client makes anew for each request
//! (`private_key_jwt`, RFC 7523 §2.2).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde_json::json;

/// How long an assertion is valid; clocks differ.
const ASSERTION_TTL: Duration = Duration::from_secs(120);

/// What an assertion claims.
#[derive(Clone, Copy)]
pub(super) struct AssertionClaims<'a> {
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
    pub(super) audience: &'a str,
}

/// What signs assertions.
#[derive(Debug, Clone)]
pub struct AssertionKey {
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
    key_id: Option<String>,
}

impl AssertionKey {
    /// Reads a key in PEM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(pem: &str, key_id: Option<&str>) -> Result<Self, &'static str> {
        let wrong = "it must hold a private key as PEM: of RSA, or of the curve P-256";
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong)?;
        let key = rustls::crypto::ring::sign::any_supported_type(&der).map_err(|_| wrong)?;
        let schemes = [SignatureScheme::RSA_PKCS1_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];
        let scheme = schemes.into_iter().find(|scheme| key.choose_scheme(&[*scheme]).is_some());
        Ok(Self { key, scheme: scheme.ok_or(wrong)?, key_id: key_id.map(str::to_owned) })
    }

    /// An assertion of these claims.
    ///
    /// # Errors
    /// If the key does not sign.
    pub(super) fn assert(
        &self,
        claims: AssertionClaims<'_>,
        now: SystemTime,
    ) -> Result<String, String> {
        let issued_at = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_rsa = self.scheme == SignatureScheme::RSA_PKCS1_SHA256;
        let mut header = json!({"alg": if is_rsa { "RS256" } else { "ES256" }, "typ": "JWT"});
        if let Some(key_id) = &self.key_id {
            header["kid"] = json!(key_id);
        }
        let claims = json!({
            "iss": claims.issuer,
            "sub": claims.subject,
            "aud": claims.audience,
            "jti": uuid::Uuid::new_v4().to_string(),
            "iat": issued_at.as_secs(),
            "exp": (issued_at + ASSERTION_TTL).as_secs(),
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let text = format!("{}.{}", encode(&header), encode(&claims));
        let failed = || "the key of client_key_file does not sign".to_owned();
        let signer = self.key.choose_scheme(&[self.scheme]).ok_or_else(failed)?;
        let signature = signer.sign(text.as_bytes()).map_err(|_| failed())?;
        let signature =
            if is_rsa { signature } else { fixed_length(&signature).ok_or_else(failed)? };
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// An ECDSA signature as JWS has it: both numbers with 32 bytes each, and not as ASN.1 has it.
fn fixed_length(asn1: &[u8]) -> Option<Vec<u8>> {
    let [0x30, _, rest @ ..] = asn1 else { return None };
    let (first, rest) = integer(rest)?;
    let (second, _) = integer(rest)?;
    let mut fixed = vec![0; 64];
    for (number, end) in [(first, 32), (second, 64)] {
        fixed.get_mut(end - number.len()..end)?.copy_from_slice(number);
    }
    Some(fixed)
}

/// An ASN.1 integer without its leading zeros, and what is behind it.
fn integer(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x02, length, rest @ ..] = bytes else { return None };
    let (number, rest) = rest.split_at_checked(usize::from(*length))?;
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    (number.len() <= 32).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_says_who_asks_whom_and_is_never_the_same() {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let key = AssertionKey::read(&pem, Some("k1")).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let claims = AssertionClaims {
            issuer: "app.example",
            subject: "c",
            audience: "https://a.example/token",
        };
        let assertion = key.assert(claims, now).unwrap();
        assert_ne!(assertion, key.assert(claims, now).unwrap());
        let parts: Vec<Vec<u8>> =
            assertion.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let header: serde_json::Value = serde_json::from_slice(&parts[0]).unwrap();
        assert_eq!(header, json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}));
        let claims: serde_json::Value = serde_json::from_slice(&parts[1]).unwrap();
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("app.example"), &json!("c")));
        assert_eq!(claims["aud"], "https://a.example/token");
        assert_eq!(claims["exp"], 1_700_000_120);
        assert_eq!(parts[2].len(), 64);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for pem in ["", "secret", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]
        {
            assert!(AssertionKey::read(pem, None).is_err());
        }
    }

    #[test]
    fn a_number_keeps_its_place_whatever_its_length() {
        let asn1 = [0x30, 9, 2, 1, 7, 2, 4, 0, 0x80, 1, 2];
        let fixed = fixed_length(&asn1).unwrap();
        assert_eq!((fixed[31], &fixed[60..]), (7, &[0, 0x80, 1, 2][..]));
        assert!(fixed_length(&[0x30, 3, 2, 200, 1]).is_none());
    }
}
