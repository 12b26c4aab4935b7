//! A sealed answer: a provider's tokens on their way to the document, as the journal and the rescue
//! queue hold them.

use serde::{Deserialize, Serialize};

use crate::{DocumentId, ProviderId, Timestamp};

/// The version of the envelope that this release writes and reads.
pub const SEALED_ANSWER_VERSION: u32 = 1;

/// The longest encoded envelope that is decoded: room for two tokens of a quarter of a megabyte.
pub const SEALED_ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// New tokens that are not in their document yet. Anyone can read which document they belong to;
/// only the holder of the key can read the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedAnswer {
    /// [`SEALED_ANSWER_VERSION`].
    #[serde(rename = "v")]
    pub version: u32,
    /// The provider that issued the tokens.
    pub provider: ProviderId,
    /// The document that they belong to.
    pub id: DocumentId,
    /// Which key sealed it: the beginning of the key's fingerprint.
    pub key: String,
    /// When it was sealed, by the sealing machine's clock; for people only.
    pub sealed_at: Timestamp,
    /// The [`crate::fingerprint::fingerprint`] of the token that was sent, if the answer may have
    /// replaced it. That token must not be sent again before the answer is in its document. A
    /// worker without the key sees by it whether the document still waits for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<String>,
    /// How many times workers without its key have forwarded it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passes: u32,
    /// The nonce and the ciphertext, in base64.
    pub sealed: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A message that is not a sealed answer. The error quotes nothing of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealedAnswerError {
    /// Longer than [`SEALED_ANSWER_BYTES_MAX`], or not JSON of this form.
    #[error("it is not a sealed answer")]
    NotOne,
    /// A version that this release does not know.
    #[error("it is a sealed answer of version {0}; this release reads version 1: upgrade it")]
    UnknownVersion(u32),
}

impl SealedAnswer {
    /// The envelope as a message, or as one line of a journal: JSON without line breaks.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes an envelope.
    ///
    /// # Errors
    /// [`SealedAnswerError`] if it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, SealedAnswerError> {
        if bytes.len() > SEALED_ANSWER_BYTES_MAX {
            return Err(SealedAnswerError::NotOne);
        }
        let answer: Self = serde_json::from_slice(bytes).map_err(|_| SealedAnswerError::NotOne)?;
        if answer.version == SEALED_ANSWER_VERSION {
            Ok(answer)
        } else {
            Err(SealedAnswerError::UnknownVersion(answer.version))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> SealedAnswer {
        SealedAnswer {
            version: SEALED_ANSWER_VERSION,
            provider: "p".parse().unwrap(),
            id: DocumentId::Integer(1),
            key: "0011223344556677".to_owned(),
            sealed_at: Timestamp::from_unix_ms(1_700_000_000_000),
            spent: Some("00112233445566770011223344556677".to_owned()),
            passes: 3,
            sealed: "AAAA".to_owned(),
        }
    }

    #[test]
    fn an_envelope_survives_the_queue_and_is_one_line() {
        let encoded = answer().encode();
        assert!(!encoded.contains(&b'\n'));
        assert_eq!(SealedAnswer::decode(&encoded), Ok(answer()));
    }

    #[test]
    fn an_envelope_of_an_earlier_release_is_read() {
        let earlier = r#"{"v":1,"provider":"p","id":1,"key":"k","sealed_at":"2023-11-14T22:13:20.000Z","sealed":"AAAA"}"#;
        let read = SealedAnswer::decode(earlier.as_bytes()).unwrap();
        assert_eq!((read.spent, read.passes), (None, 0));
    }

    #[test]
    fn an_invalid_envelope_is_reported_without_quoting_it() {
        for body in ["", "secret", "{\"v\":1,\"sealed\":\"secret\"}"] {
            let error = SealedAnswer::decode(body.as_bytes()).unwrap_err();
            assert_eq!(error, SealedAnswerError::NotOne);
        }
        let later = SealedAnswer { version: 2, ..answer() }.encode();
        assert_eq!(SealedAnswer::decode(&later), Err(SealedAnswerError::UnknownVersion(2)));
    }
}
