//! The name of a provider.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The provider's name in the configuration: part of queue names and metric labels, so 1 to 63
/// characters of `a` to `z`, `0` to `9`, `_` and `-`, the first a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderId(Arc<str>);

impl ProviderId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not a provider's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a provider's name must be 1 to 63 characters of a-z, 0-9, _ and -, \
     the first a letter or a digit"
)]
pub struct InvalidProviderId;

impl FromStr for ProviderId {
    type Err = InvalidProviderId;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let valid = (1..=63).contains(&name.len())
            && name.as_bytes().first().is_some_and(|&c| plain(c))
            && name.bytes().all(|c| plain(c) || c == b'_' || c == b'-');
        if valid { Ok(Self(name.into())) } else { Err(InvalidProviderId) }
    }
}

impl TryFrom<String> for ProviderId {
    type Error = InvalidProviderId;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<ProviderId> for String {
    fn from(id: ProviderId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_safe_in_queue_names_are_accepted() {
        for name in ["autodesk", "a", "4shared", "my-app_2"] {
            assert_eq!(name.parse::<ProviderId>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "Autodesk", "a.b", "a b", "-a", "_a", "ü", &"a".repeat(64)] {
            assert_eq!(name.parse::<ProviderId>(), Err(InvalidProviderId), "{name:?}");
        }
    }
}
