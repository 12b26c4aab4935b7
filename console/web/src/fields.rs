//! Fields of a form or of a page's address.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;

/// Names and values, in their order. An empty value counts as missing, because a form sends all of
/// its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn parse(encoded: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(encoded).into_owned();
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a field that may occur several times.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The parsed value of a field.
    ///
    /// # Errors
    /// What is wrong, with the field's name.
    pub(super) fn read<T: FromStr>(&self, name: &str) -> Result<Option<T>, String>
    where
        T::Err: std::fmt::Display,
    {
        let Some(text) = self.get(name).map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error| format!("{name}: {error}"))
    }

    /// The address of a page with these fields, in which `more` replaces those of the same names.
    pub(super) fn address(&self, path: &str, more: &[(&str, &str)]) -> String {
        let replaced = |name: &str| more.iter().any(|(known, _)| *known == name);
        let kept = self.0.iter().filter(|(name, _)| !replaced(name));
        let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
        let more = more.iter().copied().filter(|(_, value)| !value.is_empty());
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(kept.chain(more)).finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// Names and values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The fields of a page's address.
pub(super) struct Query(pub(super) Fields);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_parsed_and_written_back() {
        let fields = Fields::parse(b"user=a%26b&limit=x&id=1&id=2&empty=&n=+7+");
        assert_eq!(fields.get("user"), Some("a&b"));
        assert_eq!((fields.get("empty"), fields.get("none")), (None, None));
        assert_eq!(fields.all("id").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(fields.read::<u64>("n"), Ok(Some(7)));
        assert!(fields.read::<u64>("limit").unwrap_err().starts_with("limit: "));
        let there = fields.address("/tokens", &[("id", ""), ("n", "8")]);
        assert_eq!(there, "/tokens?user=a%26b&limit=x&n=8");
    }
}
