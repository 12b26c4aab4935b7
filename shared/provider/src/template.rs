//! A text with places for values: `https://{shop}/token`.

use std::fmt;

use serde::Deserialize;

use evergrant_domain::scalar::ScalarText;

/// A text with the names of values in braces.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ScalarText")]
pub struct TextTemplate(Vec<Part>);

/// A part of a template.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// As it is.
    Text(String),
    /// The value of this name.
    Value(String),
}

/// Shows the names alone: the text may be a key.
impl fmt::Debug for TextTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl TryFrom<ScalarText> for TextTemplate {
    type Error = String;

    fn try_from(ScalarText(text): ScalarText) -> Result<Self, String> {
        Self::read(&text)
    }
}

impl TextTemplate {
    /// Reads a text.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            !name.is_empty() && name.chars().all(plain)
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let name = after.split_once('}').filter(|(name, _)| is_name(name));
            let Some((name, behind)) = name else {
                return Err("{ and } enclose the name of a value, such as {shop}".to_owned());
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Value(name.to_owned()));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The names of the values that it needs.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Value(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with its values.
    ///
    /// # Errors
    /// The first name that has no value.
    pub(super) fn fill<'a>(
        &'a self,
        value: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<String, &'a str> {
        let part = |part: &'a Part| match part {
            Part::Text(text) => Ok(text.as_str()),
            Part::Value(name) => value(name).ok_or(name.as_str()),
        };
        self.0.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_shown_without_its_text() {
        let template = TextTemplate::read("Bearer S3cret{refresh_token}").unwrap();
        assert_eq!(format!("{template:?}"), r#"["refresh_token"]"#);
    }
}
