//! A text with the names of values in braces, as a pattern that a request's text must fit.

use regex::Regex;

/// What a text must look like.
#[derive(Debug, Clone)]
pub(super) struct TextPattern(Option<Regex>);

impl TextPattern {
    /// A value that is known must be there as it is; any other only has to be there. The refresh token is what
    /// stands in its place.
    pub(super) fn new<'a>(template: &str, known: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut pattern = String::from("^");
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else { break };
            pattern.push_str(&regex::escape(before));
            match (name, known(name)) {
                ("refresh_token", _) => pattern.push_str("(?P<refresh_token>.+)"),
                (_, Some(value)) => pattern.push_str(&regex::escape(value)),
                _ => pattern.push_str("[^/]+"),
            }
            rest = behind;
        }
        pattern.push_str(&regex::escape(rest));
        pattern.push('$');
        Self(Regex::new(&pattern).ok())
    }

    pub(super) fn fits(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }

    /// The refresh token in a text that fits.
    pub(super) fn token(&self, text: &str) -> Option<String> {
        let found = self.0.as_ref()?.captures(text)?;
        Some(found.name("refresh_token")?.as_str().to_owned())
    }
}
