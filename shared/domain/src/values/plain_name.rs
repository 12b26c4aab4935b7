//! Normalizes names of members, which providers write differently.

/// A name without the differences between `refresh_token`, `refreshToken` and `Refresh-Token`.
pub(crate) fn plain_name(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
