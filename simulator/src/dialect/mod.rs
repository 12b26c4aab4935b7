//! A provider's dialect: how it wants its requests and words its answers, read from the provider's data file.
//!
//! The file is the one that clients read. It is data: the simulator reads it by itself, and is as strict
//! as the provider, so that a client that reads it wrongly is told.

mod assertion;
mod client;
mod file;
mod pattern;
mod reply;
mod request;

use file::{AnswerVector, DialectFile};
use pattern::TextPattern;

pub use assertion::ClientKey;
pub(crate) use reply::NewTokens;
pub(crate) use request::{AskingClient, DialectRefusal};

/// The embedded files: name and text.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/dialects.rs"));

/// How a provider wants its requests and words its answers.
#[derive(Debug, Clone)]
pub struct ProviderDialect {
    file: DialectFile,
    /// The path of the token URL, where it has one.
    path: Option<TextPattern>,
    /// The answers to a good token: with a refresh token, and without one.
    rotated: Option<AnswerVector>,
    kept: Option<AnswerVector>,
    dead: AnswerVector,
    throttled: AnswerVector,
    refused: AnswerVector,
}

/// A file that tells no dialect.
#[derive(Debug, thiserror::Error)]
pub enum DialectError {
    /// There is none of this name.
    #[error("there is no dialect {name}; there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The text is no data file.
    #[error("the provider's file does not read: {0}")]
    Read(#[from] toml::de::Error),
    /// It does not show what the provider answers.
    #[error("the provider's file has no [[vector]] that means {0}")]
    Missing(&'static str),
}

impl ProviderDialect {
    /// The names of those that are embedded.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// The embedded one of this name.
    ///
    /// # Errors
    /// If there is none, or its file tells no dialect.
    pub fn from_name(name: &str) -> Result<Self, DialectError> {
        let Some((_, text)) = FILES.iter().find(|(known, _)| *known == name) else {
            let known = Self::names().collect::<Vec<_>>().join(", ");
            return Err(DialectError::Unknown { name: name.to_owned(), known });
        };
        Self::parse(text)
    }

    /// Reads a provider's data file.
    ///
    /// # Errors
    /// If it is none, or does not show what the provider answers.
    pub fn parse(text: &str) -> Result<Self, DialectError> {
        let file: DialectFile = toml::from_str(text)?;
        let find = |fits: &dyn Fn(&AnswerVector) -> bool, what| {
            let found = file.vector.iter().find(|vector| fits(vector)).cloned();
            found.ok_or(DialectError::Missing(what))
        };
        let of = |meaning: &'static str| find(&|vector| vector.means == meaning, meaning);
        let is_success =
            |vector: &AnswerVector| vector.means == "refreshed" && vector.access_token.is_some();
        let rotates = file.rotation.as_deref() != Some("never");
        let rotated = find(
            &|vector| rotates && is_success(vector) && vector.refresh_token.is_some(),
            "refreshed",
        );
        let kept =
            find(&|vector| is_success(vector) && vector.refresh_token.is_none(), "refreshed");
        let kept = kept.or_else(|_| find(&is_success, "refreshed"))?;
        Ok(Self {
            path: path_of(&file.token_url),
            rotated: rotated.ok(),
            kept: Some(kept),
            dead: of("dead")?,
            throttled: of("throttled")?,
            refused: of("client_misconfigured").or_else(|_| of("refused"))?,
            file,
        })
    }

    /// Whether the provider's answers bring new refresh tokens.
    pub(crate) const fn rotates(&self) -> bool {
        self.rotated.is_some()
    }

    /// Whether its token endpoint is there.
    pub(crate) fn serves(&self, path: &str) -> bool {
        path == "/token" || self.path.as_ref().is_none_or(|pattern| pattern.fits(path))
    }
}

/// The path of an address that may hold the names of values in braces.
fn path_of(url: &str) -> Option<TextPattern> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (_, path) = rest.split_once('/')?;
    let path = path.split('?').next().unwrap_or_default();
    Some(TextPattern::new(&format!("/{path}"), |_| None))
}

#[cfg(test)]
mod tests;
