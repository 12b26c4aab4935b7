//! Which users a rule is about.

use regex::Regex;
use serde::{Deserialize, Deserializer};

/// A regular expression that a user's whole name must match.
#[derive(Debug, Clone)]
pub(crate) struct UserPattern(Regex);

impl UserPattern {
    fn new(text: &str) -> Result<Self, regex::Error> {
        Regex::new(&format!("^(?:{text})$")).map(Self)
    }

    pub(crate) fn matches(&self, user: &str) -> bool {
        self.0.is_match(user)
    }
}

impl<'de> Deserialize<'de> for UserPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = |error| serde::de::Error::custom(format!("not a pattern of users: {error}"));
        Self::new(&text).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_must_match() {
        let pattern = UserPattern::new("u1|u2").unwrap();
        assert!(pattern.matches("u1") && pattern.matches("u2"));
        assert!(!pattern.matches("u10") && !pattern.matches("xu2"));
    }
}
