//! Recognizes tokens that the application has encrypted or hashed. Many applications do, and a
//! provider calls such a text a dead token.
//!
//! A token counts as encrypted only if its form shows it. A common prefix and length of all tokens
//! shows nothing: those of Google, Slack, Zoho and eBay have both. Neither does a form that
//! providers issue, such as a signed JWT. If the form could come from an application or from a
//! provider, both tokens of the document must have it, because an application that encrypts one of
//! them encrypts the other in the same way. Tokens that Evergrant got from the provider are never
//! checked (the caller of [`SealedForm::of`] ensures that).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What to do with a token that the application has encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealedTokens {
    /// The token is not sent, and the grant waits.
    #[default]
    Hold,
    /// The token is sent like any other: the provider issues such tokens.
    Send,
}

/// What can be done about encrypted tokens.
pub const SEALED_REMEDY: &str = "Evergrant needs the tokens as the provider issued them, and writes new ones so: \
                                 let the application store them unsealed, in a field or a collection that \
                                 only the two can read";

/// The form of an encrypted token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedForm {
    /// A scheme and its version before the ciphertext.
    Envelope,
    /// The nonce, the ciphertext and its tag, in sequence.
    Parts,
    /// An object with a nonce and a ciphertext.
    Object,
    /// An armored message, such as of PGP or age.
    Armor,
    /// A Fernet token.
    Fernet,
    /// A ciphertext of AWS KMS.
    AwsKms,
    /// A message of the AWS Encryption SDK.
    AwsMessage,
    /// A ciphertext of Google Cloud KMS.
    GoogleKms,
    /// A ciphertext of OpenSSL or CryptoJS.
    OpenSsl,
    /// An encrypted JWT with a shared key.
    EncryptedJwt,
    /// A ciphertext in hexadecimal digits.
    Digits,
    /// A hash, from which the token cannot be recovered.
    Hash,
}

impl SealedForm {
    /// The form of an encrypted refresh token, given the access token beside it. None for a token
    /// that a provider may have issued.
    pub fn of(refresh_token: &str, access_token: Option<&str>) -> Option<Self> {
        let token = refresh_token.trim();
        let access_token = access_token.map(str::trim).filter(|token| !token.is_empty());
        by_scheme(token)
            .or_else(|| known_ciphertext(token))
            .or_else(|| object(token).then_some(Self::Object))
            .or_else(|| in_both(token, access_token))
    }

    /// A description.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Envelope => "a scheme and its version stand before a ciphertext",
            Self::Parts => "it is a nonce, a ciphertext and its tag",
            Self::Object => "it is an object with a ciphertext",
            Self::Armor => "it is an armored message",
            Self::Fernet => "it is a Fernet token",
            Self::AwsKms => "it is a ciphertext of AWS KMS",
            Self::AwsMessage => "it is a message of the AWS Encryption SDK",
            Self::GoogleKms => "it is a ciphertext of Google Cloud KMS",
            Self::OpenSsl => "it is a ciphertext of OpenSSL or CryptoJS",
            Self::EncryptedJwt => "both tokens are JWTs encrypted with a shared key",
            Self::Digits => "both tokens are long ciphertexts in hexadecimal digits",
            Self::Hash => "it is a hash, from which nobody can make a token",
        }
    }
}

/// Parts of a scheme's name that occur only in encrypted texts.
const SEALING_WORDS: [&str; 33] = [
    "aead",
    "aes",
    "aes128",
    "aes256",
    "aescbc",
    "aesgcm",
    "age",
    "chacha20",
    "cipher",
    "ciphertext",
    "crypt",
    "crypto",
    "dek",
    "enc",
    "encr",
    "encrypt",
    "encrypted",
    "encv",
    "fernet",
    "gcm",
    "gpg",
    "jwe",
    "kms",
    "nacl",
    "pgp",
    "rsa",
    "seal",
    "sealed",
    "sealedbox",
    "secretbox",
    "simenc",
    "vault",
    "xchacha20",
];
/// Parts of the name of a hash.
const HASH_WORDS: [&str; 14] = [
    "2a", "2b", "2x", "2y", "argon2", "argon2d", "argon2i", "argon2id", "bcrypt", "hash", "hashed",
    "pbkdf2", "scrypt", "sha256",
];
/// The longest name of a scheme.
const SCHEME_MAX: usize = 40;

/// A scheme before the ciphertext: `enc:v1:`, `{cipher}`, `ENC(`, `$argon2id$`.
fn by_scheme(token: &str) -> Option<SealedForm> {
    if token.starts_with("-----BEGIN") {
        return Some(SealedForm::Armor);
    }
    let is_modular = token.starts_with('$');
    let token =
        token.trim_start_matches(['$', '{', '[', '(', '<', '@', '#', '!', '~', '_', ':', '*']);
    let end = token.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))?;
    let (scheme, rest) = token.split_at(end);
    let has_letter = scheme.bytes().any(|byte| byte.is_ascii_alphabetic());
    if scheme.len() > SCHEME_MAX || !has_letter {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let has = |words: &[&str]| {
        let mut parts = scheme.split(['-', '_']);
        parts.any(|part| {
            let name = part.trim_end_matches(|c: char| c.is_ascii_digit());
            words.contains(&part) || words.contains(&name)
        })
    };
    let separator = rest.chars().next()?;
    let names_scheme =
        matches!(separator, ':' | '(' | '[' | '{' | ')' | ']' | '}' | '>' | '|' | '$' | '!');
    let segments: Vec<_> = rest.split(separator).skip(1).collect();
    let has_version = segments.len() > 1 && is_version(segments[0]);
    if is_modular && separator == '$' {
        let is_hash = has(&HASH_WORDS) || (scheme.len() == 1 && scheme != "v");
        return Some(if is_hash { SealedForm::Hash } else { SealedForm::Envelope });
    }
    if names_scheme && has(&HASH_WORDS) {
        return Some(SealedForm::Hash);
    }
    let is_sealed = has(&SEALING_WORDS) && (names_scheme || has_version);
    is_sealed.then_some(SealedForm::Envelope)
}

/// A version before ciphertexts, `v1:…:…`, or between a name and those.
fn is_versioned(token: &str) -> bool {
    let [scheme, rest @ ..] = &*token.split(':').collect::<Vec<_>>() else { return false };
    let all_encoded = |parts: &[&str]| parts.iter().all(|part| is_encoded(part));
    let has_letter = scheme.bytes().any(|byte| byte.is_ascii_alphabetic());
    has_letter
        && scheme.len() <= SCHEME_MAX
        && rest.len() > 1
        && ((is_version(rest[0]) && all_encoded(&rest[1..]))
            || (is_version(&scheme.to_ascii_lowercase()) && all_encoded(rest)))
}

/// `1`, `v2`, `V03`.
fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix(['v', 'V']).unwrap_or(segment);
    (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Outputs of known libraries and services: the beginning of the text, a check of the bytes, and
/// the form.
type Known = (&'static str, fn(&[u8]) -> bool, SealedForm);

const KNOWN: [Known; 8] = [
    ("gAAAAA", is_fernet, SealedForm::Fernet),
    ("AQICAH", |bytes| bytes.len() >= 100, SealedForm::AwsKms),
    ("AYAD", |bytes| bytes.len() >= 100, SealedForm::AwsMessage),
    ("AgV4", |bytes| bytes.len() >= 100, SealedForm::AwsMessage),
    ("AgR4", |bytes| bytes.len() >= 100, SealedForm::AwsMessage),
    ("CiQA", |bytes| bytes.get(38) == Some(&0x12), SealedForm::GoogleKms),
    ("U2FsdGVkX1", |bytes| bytes.len().is_multiple_of(16), SealedForm::OpenSsl),
    ("LS0tLS1CRUdJTi", |_| true, SealedForm::Armor),
];

fn known_ciphertext(token: &str) -> Option<SealedForm> {
    let (_, is_one, form) = KNOWN.iter().find(|(beginning, ..)| token.starts_with(beginning))?;
    let bytes = decoded(token)?;
    is_one(&bytes).then_some(*form)
}

/// A version, the time, a nonce of 16 bytes, blocks of 16 and a tag of 32. Other tokens begin
/// alike, with a length in the place of the time.
fn is_fernet(bytes: &[u8]) -> bool {
    let [0x80, rest @ ..] = bytes else { return false };
    let seconds = rest.first_chunk().map(|time| u64::from_be_bytes(*time));
    let is_time = seconds.is_some_and(|seconds| (1_000_000_000..1 << 36).contains(&seconds));
    is_time && bytes.len() >= 73 && (bytes.len() - 57).is_multiple_of(16)
}

/// JSON with a ciphertext, plain or in Base64: Laravel, Rails, SJCL, JWE.
fn object(token: &str) -> bool {
    let json = match token.as_bytes() {
        [b'{', ..] => Some(token.as_bytes().to_vec()),
        [b'e', b'y' | b'w', ..] => decoded(token),
        _ => None,
    };
    let object = json.and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok());
    object.is_some_and(|object| holds_ciphertext(object.keys().map(String::as_str)))
}

/// Whether an object with fields of these names is a ciphertext.
pub fn holds_ciphertext<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let names: Vec<_> = names.map(str::to_ascii_lowercase).collect();
    let has = |name: &str| names.iter().any(|it| it == name);
    let any = |of: &[&str]| of.iter().any(|name| has(name));
    let is_made_with_nonce = any(&["iv", "nonce", "initialization_vector", "initializationvector"])
        && any(&[
            "value",
            "data",
            "ct",
            "ciphertext",
            "content",
            "tag",
            "mac",
            "authtag",
            "auth_tag",
            "text",
            "encrypted",
            "encrypteddata",
            "encrypted_data",
            "payload",
            "token",
        ]);
    // ActiveRecord has the payload and its headers.
    is_made_with_nonce
        || any(&["ciphertext", "encrypteddata", "encrypted_data"])
        || (has("p") && has("h"))
}

/// A nonce, a tag and a ciphertext, encoded one by one: `iv:tag:ciphertext`, or `ciphertext--iv--tag` of
/// Rails.
fn parts(token: &str) -> bool {
    if let [ciphertext, nonce, tag] = *token.split("--").collect::<Vec<_>>() {
        return is_encoded(ciphertext) && bytes_of(nonce) == Some(12) && bytes_of(tag) == Some(16);
    }
    if let [nonce, ciphertext] = *token.split([':', '|', '$']).collect::<Vec<_>>() {
        let blocks = bytes_of(ciphertext).unwrap_or_default();
        return bytes_of(nonce) == Some(16) && blocks >= 32 && blocks.is_multiple_of(16);
    }
    three_parts(token, &[':', '|', '$'])
}

/// A nonce, and a tag before or after the ciphertext.
fn three_parts(token: &str, separators: &[char]) -> bool {
    let [nonce, one, other] = *token.split(separators).collect::<Vec<_>>() else { return false };
    let (one, other) = (bytes_of(one), bytes_of(other));
    let is_long = |bytes: Option<usize>| bytes.is_some_and(|bytes| bytes > 16);
    let has_tag = (one == Some(16) && is_long(other)) || (other == Some(16) && is_long(one));
    has_tag && matches!(bytes_of(nonce), Some(12 | 16 | 24))
}

/// Forms that a provider may also have issued, unless the access token has the same form.
fn in_both(token: &str, access_token: Option<&str>) -> Option<SealedForm> {
    if let Some(header) = encrypted_jwt(token)
        && access_token.is_none_or(|access| encrypted_jwt(access).as_ref() == Some(&header))
    {
        return Some(SealedForm::EncryptedJwt);
    }
    if is_versioned(token) && access_token.is_none_or(is_versioned) {
        return Some(SealedForm::Envelope);
    }
    if parts(token) && access_token.is_none_or(parts) {
        return Some(SealedForm::Parts);
    }
    // Signed JWTs also have three parts joined by dots.
    let has_dots = |token: &str| !token.starts_with("eyJ") && three_parts(token, &['.']);
    if has_dots(token) && access_token.is_none_or(has_dots) {
        return Some(SealedForm::Parts);
    }
    let access = access_token?;
    if is_long_hex(token) && is_long_hex(access) {
        return Some(SealedForm::Digits);
    }
    let scheme = labelled(token)?;
    (labelled(access) == Some(scheme)).then_some(SealedForm::Envelope)
}

/// The algorithms of a JWE with a shared key, as an application uses that encrypts for itself.
/// Providers have keys of their own and name the key or the issuer.
fn encrypted_jwt(token: &str) -> Option<(String, String)> {
    let [header, _, _, _, _] = *token.split('.').collect::<Vec<_>>() else { return None };
    let header: Map<String, Value> = serde_json::from_slice(&decoded(header)?).ok()?;
    let text = |name: &str| header.get(name)?.as_str().map(str::to_owned);
    let (algorithm, encryption) = (text("alg")?, text("enc")?);
    let is_shared = algorithm == "dir"
        || algorithm.starts_with("PBES2")
        || (algorithm.starts_with('A') && algorithm.ends_with("KW"));
    let is_providers = ["iss", "cty", "x5t", "jku"].iter().any(|name| header.contains_key(*name));
    (is_shared && !is_providers).then_some((algorithm, encryption))
}

/// A nonce of 24 bytes, a tag of 16 and a token in hexadecimal, as Better Auth writes it. Hashes
/// that providers issue as tokens are shorter.
fn is_long_hex(token: &str) -> bool {
    token.len() >= 160 && token.len().is_multiple_of(2) && is_hex(token)
}

/// The text before the first of several colons.
fn labelled(token: &str) -> Option<(&str, usize)> {
    let (scheme, rest) = token.split_once(':')?;
    let parts: Vec<_> = rest.split(':').collect();
    let is_name =
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.len() <= SCHEME_MAX;
    (is_name && parts.len() > 1 && parts.iter().all(|part| is_encoded(part)))
        .then_some((scheme, parts.len()))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text may be Base64 or hexadecimal.
fn is_encoded(text: &str) -> bool {
    let is_digit =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    !text.is_empty() && text.bytes().all(is_digit)
}

/// How many bytes a text encodes, in hexadecimal or Base64.
fn bytes_of(text: &str) -> Option<usize> {
    if is_hex(text) && text.len().is_multiple_of(2) {
        return Some(text.len() / 2);
    }
    decoded(text).map(|bytes| bytes.len())
}

/// Base64 of either alphabet, padded or not.
fn decoded(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let is_url_safe = text.contains(['-', '_']);
    let alphabet = if is_url_safe { alphabet::URL_SAFE } else { alphabet::STANDARD };
    GeneralPurpose::new(&alphabet, CONFIG).decode(text).ok()
}

#[cfg(test)]
mod tests;
