//! Patterns that people write for texts: the text itself, or its beginning and a `*`.

/// Whether a text is what the pattern says.
pub(crate) fn matches_pattern(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |start| text.starts_with(start))
}
