//! `POST /token` as RFC 6749 has it, and the limits before it.

use evergrant_simulator::{QuotaBody, RetryAfter, SimulatorSettings, TokenState};
use reqwest::StatusCode;
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::support::{ID, Running, SECRET, json};

/// Id and secret, form-urlencoded as RFC 6749 section 2.3.1 asks.
const ENCODED: (&str, &str) = ("app+one", "s3%3Acret%26%2B");

#[tokio::test]
async fn credentials_are_taken_by_basic_and_by_body() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let token = simulator.sign_in("ada");
    let request = simulator.request(&token).basic_auth(ENCODED.0, Some(ENCODED.1));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let reply = json(response).await;
    let token = reply["refresh_token"].as_str().unwrap();
    assert_eq!(simulator.refresh(token).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn credentials_in_both_places_are_a_bad_request() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let token = simulator.sign_in("ada");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*token),
        ("client_id", ID),
        ("client_secret", SECRET),
    ];
    let request = simulator.post("/token").form(&form).basic_auth(ENCODED.0, Some(ENCODED.1));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json(response).await["error"], "invalid_request");
    assert_eq!(simulator.handle.token_state(&token), TokenState::Live);
}

#[tokio::test]
async fn a_wrong_secret_is_told_to_authenticate() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let token = simulator.sign_in("ada");
    let wrong = simulator.request(&token).basic_auth(ENCODED.0, Some("wrong"));
    for request in [wrong, simulator.request(&token)] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers()[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic"));
        assert_eq!(json(response).await["error"], "invalid_client");
    }
    assert_eq!(simulator.handle.stats().answers.invalid_client, 2);
}

#[tokio::test]
async fn requests_of_other_kinds_are_refused() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let credentials = |form: &[(&str, &str)]| {
        simulator.post("/token").form(form).basic_auth(ENCODED.0, Some(ENCODED.1))
    };
    for (form, error) in [
        (&[("grant_type", "authorization_code")][..], "unsupported_grant_type"),
        (&[("grant_type", "refresh_token")], "invalid_request"),
        (&[], "invalid_request"),
    ] {
        let response = credentials(form).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(json(response).await["error"], error);
    }
    let json_body = simulator.post("/token").body("{}").header(CONTENT_TYPE, "application/json");
    assert_eq!(json_body.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let get = simulator.http.get(format!("{}/token", simulator.url));
    assert_eq!(get.send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_token_of_a_megabyte_is_one_that_was_never_issued() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let response = simulator.refresh(&"x".repeat(1_000_000)).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json(response).await["error"], "invalid_grant");
    let too_large = simulator.refresh(&"x".repeat(5_000_000)).await;
    // The server may close before it has read all of it.
    assert!(too_large.map_or(true, |response| response.status() == StatusCode::BAD_REQUEST));
}

#[tokio::test]
async fn an_old_token_kills_the_family() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let old = simulator.sign_in("ada");
    let new = simulator.refreshed(&old).await;
    for token in [&old, &new] {
        let response = simulator.refresh(token).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(json(response).await["error"], "invalid_grant");
    }
    assert_eq!(simulator.handle.token_state(&new), TokenState::KilledByReuse);
}

#[tokio::test]
async fn a_retry_within_the_grace_gets_tokens_that_work() {
    let simulator =
        Running::start(SimulatorSettings { grace_s: 60, ..SimulatorSettings::default() }).await;
    let old = simulator.sign_in("ada");
    let lost = simulator.refreshed(&old).await;
    simulator.clock.advance_ms(59_000);
    let retried = simulator.refreshed(&old).await;
    assert_ne!(lost, retried);
    simulator.refreshed(&retried).await;
    assert_eq!(simulator.handle.token_state(&lost), TokenState::Rotated);
    let stats = simulator.handle.stats();
    assert_eq!((stats.exchanges, stats.double_exchanges, stats.reused), (3, 1, 0));
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_told_how_long_to_wait() {
    let limits = vec!["1/min".parse().unwrap()];
    let simulator =
        Running::start(SimulatorSettings { limits, ..SimulatorSettings::default() }).await;
    let tokens = ["ada", "bob"].map(|user| simulator.sign_in(user));
    simulator.refreshed(&tokens[0]).await;
    simulator.clock.advance_ms(35_000);
    let refused = simulator.refresh(&tokens[1]).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[RETRY_AFTER], "25");
    let change = |settings: &mut SimulatorSettings| {
        settings.retry_after = RetryAfter::HttpDate;
        settings.quota_body = QuotaBody::Autodesk;
    };
    simulator.handle.change(change).unwrap();
    let refused = simulator.refresh(&tokens[1]).await.unwrap();
    assert_eq!(refused.headers()[RETRY_AFTER], "Tue, 14 Nov 2023 22:14:20 GMT");
    assert_eq!(refused.text().await.unwrap(), r#"{"developerMessage":"Quota limit exceeded."}"#);
    simulator.clock.advance_ms(25_000);
    simulator.refreshed(&tokens[1]).await;
}

#[tokio::test]
async fn a_token_sent_twice_at_once_is_exchanged_once() {
    let settings = SimulatorSettings { kill_on_reuse: false, ..SimulatorSettings::default() };
    let simulator = Running::start(settings).await;
    let token = simulator.sign_in("ada");
    let attempts = (0..16).map(|_| simulator.refresh(&token));
    let replies = futures::future::join_all(attempts).await;
    let won =
        replies.into_iter().filter(|reply| reply.as_ref().unwrap().status() == StatusCode::OK);
    assert_eq!(won.count(), 1);
    assert_eq!(simulator.handle.stats().reused, 15);
}
