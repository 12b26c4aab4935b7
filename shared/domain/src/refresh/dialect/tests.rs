//! A provider's own form and rules of answers.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;
use crate::classify::{ExchangeResult, HttpAnswer, classify};
use crate::{ExchangeSecrets, NewTokens, Outcome, RefusalScope, Timestamp, TokenExpiry};

fn rules(rules: Value) -> Dialect {
    Dialect { rules: serde_json::from_value(rules).unwrap(), ..Dialect::default() }
}

fn form(form: Value) -> Dialect {
    Dialect { answer: serde_json::from_value(form).unwrap(), ..Dialect::default() }
}

fn outcome(dialect: &Dialect, status: u16, body: &Value) -> Outcome {
    let body = body.to_string().into_bytes();
    let answer = HttpAnswer { status, retry_after_ms: None, body };
    classify(ExchangeResult::Answered(answer), dialect, ExchangeSecrets::default())
}

fn name(dialect: &Dialect, status: u16, body: Value) -> &'static str {
    outcome(dialect, status, &body).name()
}

fn refreshed(dialect: &Dialect, body: &Value) -> NewTokens {
    match outcome(dialect, 200, body) {
        Outcome::Refreshed(tokens) => tokens,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_fully_matching_rule_counts() {
    let dialect = rules(json!([
        {"status": [400, "5xx"], "code": "x", "text": "Gone", "means": "dead"},
        {"code": ["x", "AUTH-*"], "means": "not_dead"},
        {"status": "4xx", "means": "client_misconfigured"},
    ]));
    let gone = || json!({"error": "X", "error_description": "it is gone"});
    assert_eq!(name(&dialect, 400, gone()), "grant_dead");
    assert_eq!(name(&dialect, 500, gone()), "grant_dead");
    assert_eq!(name(&dialect, 401, gone()), "transient");
    assert_eq!(name(&dialect, 400, json!({"error": "x"})), "transient");
    assert_eq!(name(&dialect, 400, json!({"errorCode": "auth-003"})), "transient");
    let other = outcome(&dialect, 400, &json!({"error": "invalid_grant"}));
    assert!(
        matches!(other, Outcome::Refused(_, RefusalScope::Client)),
        "before what is generally known"
    );
    assert_eq!(name(&dialect, 200, json!({"error": "invalid_grant"})), "grant_dead");
}

#[test]
fn a_rule_without_a_status_ignores_server_errors() {
    let dialect = rules(json!([{"code": "x", "means": "dead"}]));
    assert_eq!(name(&dialect, 500, json!({"error": "x"})), "transient");
    assert_eq!(name(&dialect, 200, json!({"error": "x"})), "grant_dead");
}

#[test]
fn a_rule_without_a_status_hides_no_lost_answer() {
    for means in ["not_dead", "throttled"] {
        let dialect = rules(json!([{"code": "x", "means": means}]));
        assert_eq!(name(&dialect, 504, json!({"error": "x"})), "ambiguous", "{means}");
    }
    let dialect = rules(json!([{"code": "x", "means": "client_misconfigured"}]));
    assert_eq!(name(&dialect, 503, json!({"error": "x"})), "transient");
    assert_eq!(name(&dialect, 429, json!({"error": "x"})), "throttled");
}

#[test]
fn a_success_that_may_hold_tokens_overrides_rules() {
    let dialect = Dialect {
        answer: form(json!({"refresh_token": "renewal"})).answer,
        ..rules(json!([{"status": 200, "means": "not_dead"}]))
    };
    assert_eq!(name(&dialect, 200, json!({"error": "x", "renewal": "R2"})), "unreadable");
    let answer = HttpAnswer { status: 200, retry_after_ms: None, body: b"no JSON at all".to_vec() };
    let told = classify(ExchangeResult::Answered(answer), &dialect, ExchangeSecrets::default());
    assert_eq!(told.name(), "unreadable");
    assert_eq!(name(&dialect, 200, json!({"error": "x"})), "transient");
}

#[test]
fn a_rule_may_look_at_one_place_only() {
    let dialect = rules(
        json!([{"path": "a.*.n", "code": 7, "means": "throttled", "scope": "user", "wait": "2min"}]),
    );
    let told = outcome(&dialect, 400, &json!({"a": [{"n": 1}, {"n": 7}]}));
    let Outcome::Throttled(failure, 0) = told else { panic!("{told:?}") };
    assert_eq!(failure.retry_after_ms, Some(120_000));
    assert_eq!(name(&dialect, 400, json!({"code": 7})), "refused");
}

#[test]
fn tokens_count_before_any_rule() {
    let dialect = rules(json!([{"status": "2xx", "means": "dead"}]));
    assert_eq!(name(&dialect, 200, json!({"access_token": "a"})), "refreshed");
    let elsewhere = json!({"data": {"access_token": "a", "refresh_token": "r"}});
    assert_eq!(name(&dialect, 200, elsewhere), "unreadable");
    assert_eq!(name(&dialect, 200, json!({"ok": false})), "grant_dead");
}

#[test]
fn a_wrapped_answer_is_read_by_its_form() {
    let dialect = form(json!({
        "success": {"path": "status", "is": 0},
        "access_token": ["body.at", "body.access_token"],
        "refresh_token": "body.rt",
        "access_lifetime": "body.expires_in",
        "refresh_idle_lifetime": {"path": "body.idle", "as": "milliseconds"},
        "refresh_absolute_lifetime": {"path": "body.end", "as": "at_text"},
        "error_code": "status",
        "error_text": "why",
    }));
    let tokens = refreshed(
        &dialect,
        &json!({"status": 0, "body": {"access_token": "a", "rt": "r", "expires_in": "60",
                "idle": 5000, "end": "2026-11-28T12:00:00Z"}}),
    );
    assert_eq!(tokens.access_token.expose_secret(), "a");
    assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "r");
    assert_eq!(tokens.ends.access, Some(TokenExpiry::In(Duration::from_secs(60))));
    assert_eq!(tokens.ends.idle, Some(TokenExpiry::In(Duration::from_secs(5))));
    let end = Timestamp::from_unix_ms(1_795_867_200_000);
    assert_eq!(tokens.ends.absolute, Some(TokenExpiry::At(end)));
    let dead = json!({"status": 293, "why": "invalid refresh token", "body": {}});
    let told = outcome(&dialect, 200, &dead);
    assert_eq!(told.name(), "grant_dead");
    assert_eq!(told.failure().unwrap().code.as_deref(), Some("293"));
}

#[test]
fn one_value_can_be_both_access_and_refresh_token() {
    let dialect = form(json!({"refresh_token": "access_token"}));
    let tokens = refreshed(&dialect, &json!({"access_token": "a", "expires_in": 5_184_000}));
    assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "a");
}

#[test]
fn the_form_defines_what_a_success_is() {
    let dialect = form(json!({"success": {"path": "ok", "is": true}}));
    assert_eq!(name(&dialect, 200, json!({"ok": false, "why": 5})), "refused");
    let tokens = json!({"ok": true, "error": "a_warning", "access_token": "a"});
    assert_eq!(name(&dialect, 200, tokens), "refreshed");
}

#[test]
fn a_wait_is_read_from_a_header_or_the_body() {
    let dialect = form(json!({"retry_after": [
        {"header": "x-reset", "as": "at_seconds"}, {"path": "wait_ms", "as": "milliseconds"}
    ]}));
    let now = Timestamp::from_unix_ms(1_000_000);
    let wait = |retry_after_ms, header: Option<&'static str>| {
        let body = br#"{"wait_ms": 1500}"#.to_vec();
        let mut answer = HttpAnswer { status: 429, retry_after_ms, body };
        answer.read_wait(
            &dialect.answer.retry_after,
            |name| header.filter(|_| name == "x-reset"),
            now,
        );
        answer.retry_after_ms
    };
    assert_eq!(wait(None, Some("1030")), Some(30_000));
    assert_eq!(wait(None, Some("900")), None, "a time that has passed");
    assert_eq!(wait(None, None), Some(1_500));
    assert_eq!(wait(Some(7), Some("1030")), Some(7));
    let mut other = HttpAnswer { status: 502, retry_after_ms: None, body: Vec::new() };
    other.read_wait(&dialect.answer.retry_after, |_| Some("1030"), now);
    assert_eq!(other.retry_after_ms, None, "a window's end beside another answer is no throttle");
}

#[test]
fn a_rule_that_cannot_be_is_refused() {
    for rule in [
        json!({"means": "dead"}),
        json!({"code": "x"}),
        json!({"code": "x", "means": "maybe"}),
        json!({"code": "x", "means": "dead", "states": 400}),
        json!({"status": 99, "means": "dead"}),
        json!({"status": "6xx", "means": "dead"}),
        json!({"status": 400, "path": "a", "means": "dead"}),
        json!({"code": "x", "path": "a..b", "means": "dead"}),
        json!({"code": "x", "means": "retry_later", "wait": "soon"}),
    ] {
        assert!(serde_json::from_value::<DialectRule>(rule.clone()).is_err(), "{rule}");
    }
}
