//! The common vocabulary: the meaning of error codes and texts at most providers.
//!
//! A wrong guess costs little: a death is confirmed before it is believed, and an answer to many
//! grants counts as being about the client ([`super::weigh`]). So this list holds what most
//! providers say, and a provider's dialect adds the rest.

/// Codes besides `invalid_grant` for a dead refresh token: GitHub, Slack, HubSpot, Meta, Strava,
/// Zoho and others. None is known to have another meaning elsewhere.
pub const DEAD_CODES: [&str; 17] = [
    "invalid_grant",
    "bad_refresh_token",
    "invalid_refresh_token",
    "refresh_token_invalid",
    "refresh_token_expired",
    "refresh_token_revoked",
    "refresh_token_not_found",
    "expired_refresh_token",
    "token_revoked",
    "token_expired",
    "expired_token",
    "revoked_token",
    "invalid_token",
    "invalid_code",
    "account_inactive",
    "OAuthException:190",
    "RefreshToken:invalid",
];

/// Codes of a throttle, besides HTTP 429.
pub const THROTTLE_CODES: [&str; 7] = [
    "ratelimited",
    "rate_limited",
    "rate_limit_exceeded",
    "too_many_requests",
    "slow_down",
    "throttled",
    "quota_exceeded",
];

/// Codes of a failure of the provider itself (RFC 6749 §4.1.2.1 has the first two for another
/// endpoint).
const PASSING_CODES: [&str; 4] =
    ["server_error", "temporarily_unavailable", "internal_error", "service_unavailable"];

/// Codes that refuse one user or one tenant at least as often as the client: a withdrawn consent,
/// an administrator's policy, a tenant that disabled the application.
const CONSENT_CODES: [&str; 9] = [
    "unauthorized_client",
    "access_denied",
    "invalid_scope",
    "consent_required",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "mfa_required",
    "admin_policy_enforced",
];

/// Texts of a request that came too early.
const EARLY: [&str; 5] =
    ["not expired", "not yet expired", "still valid", "too early to refresh", "too soon"];
/// Texts that revoke a death: the same request is under way, or the provider has a temporary
/// problem.
const NOT_DEAD: [&str; 7] = [
    "being processed",
    "in progress",
    "try again later",
    "temporarily",
    "concurrent request",
    "internal server error",
    "service unavailable",
];
/// Texts of a throttle.
const THROTTLED: [&str; 4] = ["rate limit", "too many requests", "quota exceeded", "throttled"];
/// Texts about the request or the client, whatever they say about a token.
const NOT_OF_THE_TOKEN: [&str; 10] = [
    "missing",
    "required",
    "client id",
    "client secret",
    "client credentials",
    "client authentication",
    "invalid client",
    "token endpoint",
    "token request",
    "token type",
];
const DEAD: [&str; 17] = [
    "invalid",
    "expired",
    "revoked",
    "no longer valid",
    "not valid",
    "not found",
    "not exist",
    "doesn't exist",
    "unknown",
    "inactive",
    "not active",
    "already used",
    "already been used",
    "has been used",
    "not recognized",
    "not recognised",
    "withdrawn",
];

/// Whether `code` is one of `codes`. Providers differ in capitals.
pub(super) fn is_among<T: AsRef<str>>(code: &str, codes: &[T]) -> bool {
    codes.iter().any(|known| known.as_ref().eq_ignore_ascii_case(code))
}

pub(super) fn is_dead_code(code: &str) -> bool {
    is_among(code, &DEAD_CODES)
}

pub(super) fn is_throttle_code(code: &str) -> bool {
    is_among(code, &THROTTLE_CODES)
}

pub(super) fn is_passing_code(code: &str) -> bool {
    is_among(code, &PASSING_CODES)
}

pub(super) fn is_consent_code(code: &str) -> bool {
    is_among(code, &CONSENT_CODES)
}

/// The meaning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The request came too early.
    Early,
    /// The grant is not dead, whatever the code says.
    NotDead,
    /// A throttle.
    Throttled,
    /// The refresh token is dead.
    Dead,
    /// Unknown.
    Unknown,
}

/// The meaning of a text for people.
pub(super) fn meaning(text: &str) -> Meaning {
    let text = plain_text(text);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&EARLY) {
        Meaning::Early
    } else if says(&NOT_DEAD) {
        Meaning::NotDead
    } else if says(&THROTTLED) {
        Meaning::Throttled
    } else if says(&["invalid grant"])
        || (says(&["token"]) && says(&DEAD) && !says(&NOT_OF_THE_TOKEN))
    {
        Meaning::Dead
    } else {
        Meaning::Unknown
    }
}

/// Lower case, with `refresh_token` and `refresh-token` as `refresh token`.
fn plain_text(text: &str) -> String {
    text.to_lowercase().replace(['_', '-'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_providers_texts_of_a_dead_token_are_known() {
        for text in [
            "refresh_token is invalid",
            "Value passed for the token was invalid.",
            "The refresh token is no longer valid.",
            "Token has been expired or revoked.",
            "Unknown or invalid refresh token.",
            "Invalid Params: invalid refresh_token",
            "expired access/refresh token",
            "Invalid grant",
            "The authorization code/refresh token is expired or invalid/redirect_uri must have the \
             same value as in the authorization request.",
        ] {
            assert_eq!(meaning(text), Meaning::Dead, "{text}");
        }
    }

    #[test]
    fn an_incomplete_request_is_not_a_death() {
        for text in [
            "Missing parameter",
            "refresh_token is required",
            "Invalid client secret provided for this token",
            "Invalid token endpoint",
            "Bad Request",
            "Invalid client or token",
        ] {
            assert_eq!(meaning(text), Meaning::Unknown, "{text}");
        }
    }

    #[test]
    fn texts_can_say_that_a_grant_is_not_dead() {
        assert_eq!(meaning("token request is already being processed"), Meaning::NotDead);
        let early = "Rate limit exceeded: access_token not expired";
        assert_eq!(meaning(early), Meaning::Early);
        assert_eq!(meaning("Rate limit exceeded for this token: invalid"), Meaning::Throttled);
    }
}
