//! Names of members as different providers write them.

/// A name without the differences of `refresh_token`, `refreshToken` and `Refresh-Token`.
pub(crate) fn plain_name(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
