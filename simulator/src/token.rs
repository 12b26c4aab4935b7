//! Tokens that look random and carry, sealed, which grant they belong to.
//!
//! Because a token says itself which grant it is of and which number it has there, no table of
//! tokens is needed: every token that was ever issued is known for ever, and memory grows with
//! the number of grants only.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// How every refresh token begins, so that a leak can be searched for.
pub const REFRESH_TOKEN_PREFIX: &str = "evgsim_rt_";
/// How every access token begins, so that a leak can be searched for.
pub const ACCESS_TOKEN_PREFIX: &str = "evgsim_at_";

/// Length of the part after the prefix: 32 bytes in base64.
const BODY_LEN: usize = 43;

/// Which token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenId {
    /// The grant it belongs to.
    pub(crate) grant: u32,
    /// Its number in the grant, from 0.
    pub(crate) number: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Refresh = 1,
    Access = 2,
}

/// Seals and opens tokens with one key.
#[derive(Debug, Clone)]
pub(crate) struct TokenCodec {
    seal: Sha256,
    mask: Sha256,
}

impl TokenCodec {
    /// The same seed makes the same tokens.
    pub(crate) fn new(seed: u64) -> Self {
        let keyed = |name: &[u8]| {
            // A whole block, so that the key's work is done once and not for every token.
            let mut block = [0u8; 64];
            block[..8].copy_from_slice(&seed.to_le_bytes());
            block[8..8 + name.len()].copy_from_slice(name);
            Sha256::new_with_prefix(block)
        };
        Self { seal: keyed(b"evergrant simulator seal"), mask: keyed(b"evergrant simulator mask") }
    }

    pub(crate) fn refresh_token(&self, id: TokenId) -> String {
        self.encode(REFRESH_TOKEN_PREFIX, Kind::Refresh, id, 0)
    }

    /// Access tokens are told apart by `nonce`, for one refresh token may yield several.
    pub(crate) fn access_token(&self, id: TokenId, nonce: u32) -> String {
        self.encode(ACCESS_TOKEN_PREFIX, Kind::Access, id, nonce)
    }

    /// Which refresh token this is. None if this provider cannot have issued it.
    pub(crate) fn open_refresh_token(&self, token: &str) -> Option<TokenId> {
        let body = token.strip_prefix(REFRESH_TOKEN_PREFIX)?;
        if body.len() != BODY_LEN {
            return None;
        }
        let mut sealed = [0u8; 32];
        URL_SAFE_NO_PAD.decode_slice(body, &mut sealed).ok()?;
        let (tag, masked) = sealed.split_at(16);
        let plain = self.masked(tag, masked);
        let genuine = plain[12] == Kind::Refresh as u8 && self.tag(&plain) == tag;
        let word = |at: usize| {
            u32::from_le_bytes([plain[at], plain[at + 1], plain[at + 2], plain[at + 3]])
        };
        genuine.then(|| TokenId { grant: word(0), number: word(4) })
    }

    fn encode(&self, prefix: &str, kind: Kind, id: TokenId, nonce: u32) -> String {
        let mut plain = [0u8; 16];
        plain[0..4].copy_from_slice(&id.grant.to_le_bytes());
        plain[4..8].copy_from_slice(&id.number.to_le_bytes());
        plain[8..12].copy_from_slice(&nonce.to_le_bytes());
        plain[12] = kind as u8;
        let tag = self.tag(&plain);
        let mut sealed = [0u8; 32];
        sealed[..16].copy_from_slice(&tag);
        sealed[16..].copy_from_slice(&self.masked(&tag, &plain));
        let mut token = String::with_capacity(prefix.len() + BODY_LEN);
        token.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(sealed, &mut token);
        token
    }

    fn tag(&self, plain: &[u8]) -> [u8; 16] {
        first_half(self.seal.clone().chain_update(plain))
    }

    /// Masks or, being its own inverse, unmasks.
    fn masked(&self, tag: &[u8], text: &[u8]) -> [u8; 16] {
        let mut mask = first_half(self.mask.clone().chain_update(tag));
        mask.iter_mut().zip(text).for_each(|(mask, byte)| *mask ^= byte);
        mask
    }
}

fn first_half(digest: Sha256) -> [u8; 16] {
    let mut half = [0u8; 16];
    half.copy_from_slice(&digest.finalize()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TokenId = TokenId { grant: 77, number: 3 };

    #[test]
    fn a_refresh_token_opens_to_what_it_was_made_of() {
        let codec = TokenCodec::new(1);
        let token = codec.refresh_token(ID);
        assert!(token.starts_with(REFRESH_TOKEN_PREFIX) && token.len() == 53, "{token}");
        assert_eq!(codec.open_refresh_token(&token), Some(ID));
    }

    #[test]
    fn tokens_of_neighbours_have_nothing_in_common() {
        let codec = TokenCodec::new(1);
        let next = TokenId { number: 4, ..ID };
        let (one, two) = (codec.refresh_token(ID), codec.refresh_token(next));
        let same = one[10..].bytes().zip(two[10..].bytes()).filter(|(a, b)| a == b).count();
        assert!(same < 10, "{one} {two}");
    }

    #[test]
    fn nothing_else_opens() {
        let codec = TokenCodec::new(1);
        let token = codec.refresh_token(ID);
        let changed = format!("{}{}", &token[..30], &token[31..]) + "A";
        let access = codec.access_token(ID, 0).replace(ACCESS_TOKEN_PREFIX, REFRESH_TOKEN_PREFIX);
        let huge = "x".repeat(1_000_000);
        let foreign = TokenCodec::new(2).refresh_token(ID);
        for bad in ["", "evgsim_rt_", &token[1..], &changed, &access, &huge, &foreign] {
            assert_eq!(codec.open_refresh_token(bad), None);
        }
    }
}
