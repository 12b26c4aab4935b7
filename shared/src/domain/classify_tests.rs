use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::json;

use super::*;

fn dialect() -> Dialect {
    Dialect {
        dead_codes: vec!["bad_refresh_token".into(), "BAD_REFRESH_TOKEN".into()],
        dead_texts: vec!["refresh token is expired or invalid".into()],
        throttle_codes: vec!["ratelimited".into()],
    }
}

fn answer(status: u16, body: impl Into<String>) -> Outcome {
    let answer = Answer { status, retry_after_ms: None, body: body.into().into_bytes() };
    classify(Exchange::Answered(answer), &dialect())
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
    assert_eq!(tokens.expires_in_s, Some(3600));
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
        assert_eq!(tokens.expires_in_s, read, "{given}");
    }
}

#[test]
fn a_dead_grant_is_known_by_code_under_any_client_status() {
    for status in [400, 401, 403] {
        assert_eq!(name(status, json!({"error": "invalid_grant"})), "grant_dead");
    }
    // GitHub and Slack say it under 200, HubSpot in `status`.
    assert_eq!(name(200, json!({"error": "bad_refresh_token"})), "grant_dead");
    assert_eq!(name(400, json!({"status": "BAD_REFRESH_TOKEN", "message": "x"})), "grant_dead");
}

#[test]
fn autodesk_tells_a_dead_grant_in_words() {
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
fn the_client_is_at_fault_when_the_provider_says_so() {
    for code in CLIENT_CODES {
        assert_eq!(name(400, json!({"error": code})), "misconfigured");
        assert_eq!(name(401, json!({"error": code})), "misconfigured");
    }
    for status in [301, 302, 401, 403, 404, 405, 415] {
        assert_eq!(name(status, json!({})), "misconfigured", "{status}");
    }
}

#[test]
fn one_odd_document_does_not_stop_its_provider() {
    for (status, body) in [
        (400, json!({"error": "invalid_request"})),
        (400, json!({})),
        (413, json!({})),
        (431, json!({})),
    ] {
        assert_eq!(name(status, body), "transient");
    }
}

#[test]
fn a_throttle_proves_nothing_about_the_grant() {
    assert_eq!(name(429, json!({"error": "invalid_grant"})), "throttled");
    assert_eq!(name(429, json!({"developerMessage": "Quota limit exceeded."})), "throttled");
    assert_eq!(name(200, json!({"ok": false, "error": "ratelimited"})), "throttled");
    assert_eq!(answer(429, "<html>").name(), "throttled");
}

#[test]
fn success_without_a_usable_token_may_have_spent_the_old_one() {
    assert_eq!(answer(200, "<html>maintenance</html>").name(), "ambiguous");
    assert_eq!(answer(200, "").name(), "ambiguous");
    assert_eq!(name(200, json!({})), "ambiguous");
    assert_eq!(name(200, json!({"access_token": 5})), "ambiguous");
    assert_eq!(name(200, json!({"access_token": "a", "refresh_token": 5})), "ambiguous");
    assert_eq!(name(200, json!({"error": "server_error"})), "transient");
}

#[test]
fn what_was_not_sent_cannot_have_spent_the_token() {
    let outcome = |exchange| classify(exchange, &dialect()).name();
    assert_eq!(outcome(Exchange::NotSent("connection refused".into())), "transient");
    assert_eq!(outcome(Exchange::NoAnswer("timed out".into())), "ambiguous");
}

proptest! {
    #[test]
    fn every_answer_has_a_meaning_and_keeps_its_secrets(
        status in 100_u16..600, body in any::<Vec<u8>>(), token in "[A-Za-z0-9]{24,40}",
        key in "(error|error_description|message|errorCode|status|developerMessage|refresh_token)"
    ) {
        classify(Exchange::Answered(Answer { status, retry_after_ms: None, body }), &dialect());
        let outcome = answer(status, json!({key: token.clone()}).to_string());
        let shown = format!("{outcome:?}");
        prop_assert!(!shown.contains(&token));
    }

    #[test]
    fn only_an_explicit_code_or_text_kills_a_grant(status in 100_u16..600, word in "[a-z]{1,12}") {
        prop_assume!(word != "invalid_grant");
        prop_assert_ne!(name(status, json!({"error": word})), "grant_dead");
    }
}
