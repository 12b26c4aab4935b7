use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::json;

use std::time::Duration;

use super::*;
use crate::TokenExpiry;

fn dialect() -> Dialect {
    Dialect {
        dead_codes: vec!["gone".into()],
        dead_texts: vec!["no such session".into()],
        not_dead_texts: vec!["patience".into()],
        throttle_codes: vec!["calm_down".into()],
        ..Dialect::default()
    }
}

fn seconds(s: u64) -> Option<TokenExpiry> {
    Some(TokenExpiry::In(Duration::from_secs(s)))
}

fn answer(status: u16, body: impl Into<String>) -> Outcome {
    let answer = HttpAnswer { status, retry_after_ms: None, body: body.into().into_bytes() };
    classify(ExchangeResult::Answered(answer), &dialect(), ExchangeSecrets::default())
}

fn name(status: u16, body: Value) -> &'static str {
    answer(status, body.to_string()).name()
}

#[test]
fn new_tokens_are_taken_as_the_rfc_gives_them() {
    let body = json!({"access_token": "a", "refresh_token": "r", "expires_in": 3600,
                      "token_type": "Bearer", "unknown": {}});
    let Outcome::Refreshed(tokens) = answer(200, body.to_string()) else { panic!("not refreshed") };
    assert_eq!(tokens.access_token.expose_secret(), "a");
    assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "r");
    assert_eq!(tokens.ends.access, seconds(3600));
}

#[test]
fn a_missing_refresh_token_means_keep_the_old_one() {
    for body in [
        json!({"access_token": "a"}),
        json!({"access_token": "a", "refresh_token": ""}),
        json!({"access_token": "a", "refresh_token": null, "error": null}),
    ] {
        let Outcome::Refreshed(tokens) = answer(200, body.to_string()) else { panic!("{body}") };
        assert!(tokens.refresh_token.is_none());
    }
}

#[test]
fn a_lifetime_is_read_as_number_or_text_and_nonsense_is_ignored() {
    for (given, read) in [
        (json!(3600), Some(3600)),
        (json!("3600"), Some(3600)),
        (json!(3599.9), Some(3599)),
        (json!("soon"), None),
        (json!(-5), None),
        (json!(0), None),
        (json!(null), None),
        (json!(1e300), None),
        (json!(u64::MAX), Some(315_360_000)),
    ] {
        let body = json!({"access_token": "a", "expires_in": given});
        let Outcome::Refreshed(tokens) = answer(200, body.to_string()) else { panic!("{body}") };
        assert_eq!(tokens.ends.access, read.and_then(seconds), "{given}");
    }
}

#[test]
fn a_dead_grants_code_counts_with_any_client_status() {
    for status in [400, 401, 403] {
        assert_eq!(name(status, json!({"error": "invalid_grant"})), "grant_dead");
    }
    // GitHub and Slack send it with 200, HubSpot in `status`.
    assert_eq!(name(200, json!({"error": "bad_refresh_token"})), "grant_dead");
    assert_eq!(name(400, json!({"status": "BAD_REFRESH_TOKEN", "message": "x"})), "grant_dead");
}

#[test]
fn autodesk_reports_a_dead_grant_as_text() {
    let text = "The authorization code/refresh token is expired or invalid/redirect_uri must have \
                the same value as in the authorization request.";
    assert_eq!(name(400, json!({"developerMessage": text})), "grant_dead");
}

#[test]
fn a_server_error_is_never_the_death_of_a_grant() {
    for status in 500..=599 {
        let outcome = name(status, json!({"error": "invalid_grant"}));
        assert!(matches!(outcome, "transient" | "ambiguous"), "{status} {outcome}");
    }
    assert_eq!(name(504, json!({})), "ambiguous");
    assert_eq!(name(503, json!({})), "transient");
}

#[test]
fn many_providers_shapes_of_a_dead_grant_are_known() {
    for (status, body) in [
        (
            403,
            json!({"error": "unauthorized_client", "error_description": "refresh_token is invalid"}),
        ),
        (400, json!({"error": "invalid_request", "error_description": "Refresh token is invalid"})),
        (400, json!({"message": "Invalid refresh token", "status": 400})),
        (401, json!({"reason": "Invalid Token!", "error": "invalid_request"})),
        (
            400,
            json!({"errors": [{"resource": "RefreshToken", "field": "refresh_token", "code": "invalid"}]}),
        ),
        (
            400,
            json!({"errors": [{"errorType": "invalid_grant", "message": "m"}], "success": false}),
        ),
        (400, json!({"error": {"message": "m", "type": "OAuthException", "code": 190}})),
        (200, json!({"status": 503, "error": "Invalid Params: invalid refresh_token"})),
        (200, json!({"error": "invalid_code"})),
        (400, json!([{"errorCode": "INVALID_GRANT"}])),
    ] {
        assert_eq!(name(status, body.clone()), "grant_dead", "{status} {body}");
    }
}

#[test]
fn a_dialect_adds_a_providers_own_codes() {
    assert_eq!(name(400, json!({"error": "gone"})), "grant_dead");
    assert_eq!(name(400, json!({"message": "No such session"})), "grant_dead");
    let taken_back = json!({"error": "invalid_grant", "error_description": "Patience, please"});
    assert_eq!(name(400, taken_back), "transient");
    assert_eq!(name(400, json!({"error": "calm_down"})), "throttled");
    let user = Dialect { throttle_scope: ThrottleScope::User, ..dialect() };
    let answer = HttpAnswer { status: 429, retry_after_ms: None, body: Vec::new() };
    let outcome = classify(ExchangeResult::Answered(answer), &user, ExchangeSecrets::default());
    assert!(matches!(outcome, Outcome::Throttled(_, 0)));
}

#[test]
fn texts_can_revoke_a_death_or_a_refusal() {
    let busy = json!({"error": "invalid_grant", "error_description": "already being processed"});
    assert_eq!(name(400, busy), "transient");
    let early = json!({"error": "access_denied",
                       "error_description": "Rate limit exceeded: access_token not expired"});
    assert_eq!(name(400, early), "too_early");
    assert_eq!(name(403, json!({"message": "API rate limit exceeded"})), "throttled");
}

#[test]
fn a_refusal_counts_for_its_own_grant() {
    for code in ["invalid_client", "unauthorized_client", "access_denied", "invalid_scope", "what"]
    {
        assert_eq!(name(400, json!({"error": code})), "refused", "{code}");
        assert_eq!(name(401, json!({"error": code})), "refused", "{code}");
    }
    for status in [301, 302, 400, 401, 403, 404, 405, 413, 415, 431] {
        assert_eq!(name(status, json!({})), "refused", "{status}");
    }
    assert_eq!(answer(403, "<html>blocked</html>").name(), "refused");
    assert_eq!(name(200, json!({"error": "incorrect_client_credentials"})), "refused");
    assert_eq!(name(200, json!({"ok": false, "error": "bad_client_secret"})), "refused");
    let refusal = |code| match answer(400, json!({"error": code}).to_string()) {
        Outcome::Refused(_, refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal("unauthorized_client"), RefusalScope::Consent);
    assert_eq!(refusal("invalid_client"), RefusalScope::Unclear);
}

#[test]
fn a_throttle_proves_nothing_about_the_grant() {
    assert_eq!(name(429, json!({"error": "invalid_grant"})), "throttled");
    assert_eq!(name(429, json!({"developerMessage": "Quota limit exceeded."})), "throttled");
    assert_eq!(name(200, json!({"ok": false, "error": "ratelimited"})), "throttled");
    assert_eq!(answer(429, "<html>").name(), "throttled");
}

#[test]
fn tokens_are_taken_despite_an_error_text() {
    for error in ["none", "0", "success", "a_warning"] {
        let body = json!({"access_token": "a", "refresh_token": "r", "error": error});
        assert_eq!(name(200, body), "refreshed", "{error}");
    }
    let marked = format!("\u{feff}{}", json!({"access_token": "a"}));
    assert_eq!(answer(200, marked).name(), "refreshed");
}

#[test]
fn a_success_with_tokens_elsewhere_is_kept_as_unreadable() {
    for body in [
        json!({"status": 0, "body": {"access_token": "a", "refresh_token": "r"}}),
        json!({"status": "success", "data": {"accessToken": "a"}}),
        json!({"code": 40, "message": "done", "data": {"access_token": "a"}}),
        json!({"token": "a", "refreshToken": "r", "expiresIn": 5}),
        json!({"access_token": "a", "refreshToken": "r"}),
        json!({"access_token": "a", "authed_user": {"refresh_token": "r"}}),
        json!({"access_token": 5}),
        json!({"access_token": "a", "refresh_token": 5}),
        json!([{"access_token": "a"}]),
        json!({"jwe": "a"}),
    ] {
        assert_eq!(name(200, body.clone()), "unreadable", "{body}");
        assert_eq!(name(201, body.clone()), "unreadable", "{body}");
    }
    assert_eq!(answer(200, "at=a&rt=r").name(), "unreadable");
}

#[test]
fn an_html_page_may_have_spent_the_token() {
    assert_eq!(answer(200, "<html>maintenance</html>").name(), "ambiguous");
    assert_eq!(answer(200, "").name(), "ambiguous");
    assert_eq!(name(200, json!({})), "ambiguous");
    assert_eq!(name(200, json!({"error": "server_error"})), "transient");
}

#[test]
fn an_unsent_request_spends_no_token() {
    let outcome = |exchange| classify(exchange, &dialect(), ExchangeSecrets::default()).name();
    assert_eq!(outcome(ExchangeResult::NotSent("connection refused".into())), "transient");
    assert_eq!(outcome(ExchangeResult::NotTried("no connection was free".into())), "throttled");
    assert_eq!(outcome(ExchangeResult::NoAnswer("timed out".into())), "ambiguous");
}

#[test]
fn a_token_in_the_answer_is_never_an_error_code() {
    let outcome = answer(400, json!({"error": "new_one", "refresh_token": "new_one"}).to_string());
    assert_eq!(outcome.failure().unwrap().code.as_deref(), Some("unrecognised"));
}

proptest! {
    #[test]
    fn every_answer_has_a_meaning_and_keeps_its_secrets(
        status in 100_u16..600, body in any::<Vec<u8>>(), token in "[A-Za-z0-9]{24,40}",
        key in "(error|error_description|message|errorCode|status|developerMessage|refresh_token)"
    ) {
        classify(ExchangeResult::Answered(HttpAnswer { status, retry_after_ms: None, body }), &dialect(), ExchangeSecrets::default());
        let outcome = answer(status, json!({key: token.clone()}).to_string());
        let shown = format!("{outcome:?}");
        prop_assert!(!shown.contains(&token));
    }

    #[test]
    fn only_an_explicit_code_or_text_kills_a_grant(status in 100_u16..600, word in "[a-z]{1,12}") {
        prop_assume!(word != "gone");
        prop_assert_ne!(name(status, json!({"error": word})), "grant_dead");
    }
}
