//! Every fault as a client sees it.

use std::io::ErrorKind;

use evergrant_simulator::{FaultRates, SimulatorSettings, TokenState};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::io::AsyncReadExt;

use crate::support::{Running, json};

async fn start(set: impl Fn(&mut FaultRates)) -> (Running, String) {
    let mut settings =
        SimulatorSettings { fault_retry_after_s: Some(7), ..SimulatorSettings::default() };
    set(&mut settings.faults);
    let simulator = Running::start(settings).await;
    let token = simulator.sign_in("ada");
    (simulator, token)
}

#[tokio::test]
async fn server_errors_leave_the_token_alone() {
    let (simulator, token) = start(|faults| faults.http_500 = 1.0).await;
    let response = simulator.refresh(&token).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(json(response).await["error"], "server_error");
    assert_eq!(simulator.handle.token_state(&token), TokenState::Live);

    let (simulator, token) = start(|faults| faults.http_503 = 1.0).await;
    let response = simulator.refresh(&token).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "7");
    simulator.handle.change(|settings| settings.fault_retry_after_s = None).unwrap();
    let response = simulator.refresh(&token).await.unwrap();
    assert_eq!(response.headers().get(RETRY_AFTER), None);
    assert_eq!(simulator.handle.token_state(&token), TokenState::Live);
}

#[tokio::test]
async fn a_proxy_in_front_answers_in_html() {
    let (simulator, token) = start(|faults| faults.html_error = 1.0).await;
    let response = simulator.refresh(&token).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/html");
    assert!(response.text().await.unwrap().starts_with("<html>"));
    assert_eq!(simulator.handle.token_state(&token), TokenState::Live);
}

#[tokio::test]
async fn a_random_throttle_leaves_the_token_alone() {
    let (simulator, token) = start(|faults| faults.throttle_429 = 1.0).await;
    let response = simulator.refresh(&token).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()[RETRY_AFTER], "7");
    assert_eq!(simulator.handle.token_state(&token), TokenState::Live);
}

#[tokio::test]
async fn a_reset_before_rotating_is_a_reset_and_leaves_the_token_alone() {
    let (simulator, token) = start(|faults| faults.reset_before = 1.0).await;
    let (received, end) = simulator.raw(&token).await;
    assert_eq!((received.as_str(), end.unwrap_err().kind()), ("", ErrorKind::ConnectionReset));
    assert_eq!(simulator.handle.token_state(&token), TokenState::Live);
}

#[tokio::test]
async fn a_reset_after_rotating_is_a_reset_and_has_spent_the_token() {
    let (simulator, token) = start(|faults| faults.reset_after = 1.0).await;
    let (received, end) = simulator.raw(&token).await;
    assert_eq!((received.as_str(), end.unwrap_err().kind()), ("", ErrorKind::ConnectionReset));
    assert_eq!(simulator.handle.token_state(&token), TokenState::Rotated);
    assert!(simulator.refresh(&token).await.is_err());
}

#[tokio::test]
async fn a_truncated_body_promises_more_than_it_holds() {
    let (simulator, token) = start(|faults| faults.truncated_body = 1.0).await;
    let (received, end) = simulator.raw(&token).await;
    assert!(end.is_ok(), "ends without a reset");
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    let length = head.to_ascii_lowercase();
    let length = length.split_once("content-length: ").unwrap().1.lines().next().unwrap();
    let promised: usize = length.parse().unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!body.is_empty() && body.len() == promised / 2, "{} of {promised}", body.len());
    assert_eq!(simulator.handle.token_state(&token), TokenState::Rotated);
}

#[tokio::test]
async fn a_reply_that_never_comes_is_held_until_the_client_goes() {
    let (simulator, token) = start(|faults| faults.no_reply = 1.0).await;
    let stream = simulator.send_raw(&token).await;
    while simulator.handle.token_state(&token) == TokenState::Live {
        tokio::task::yield_now().await;
    }
    assert_eq!(simulator.handle.stats().in_flight, 1);
    drop(stream);
    while simulator.handle.stats().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(simulator.handle.stats().client_gone, 1);
}

#[tokio::test]
async fn a_reply_that_never_comes_ends_in_a_reset_when_its_time_is_up() {
    let (simulator, token) = start(|faults| faults.no_reply = 1.0).await;
    simulator.handle.change(|settings| settings.no_reply_hold_s = 0).unwrap();
    let mut received = Vec::new();
    let end = simulator.send_raw(&token).await.read_to_end(&mut received).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_error_can_come_as_a_success() {
    let (simulator, token) = start(|faults| faults.ok_with_error = 1.0).await;
    let response = simulator.refresh(&token).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(json(response).await["error"], "bad_refresh_token");
    assert_eq!(simulator.handle.token_state(&token), TokenState::Revoked);
}

#[tokio::test]
async fn the_lifetime_can_be_a_string_or_missing() {
    let (simulator, token) = start(|faults| faults.expires_in_string = 1.0).await;
    let reply = json(simulator.refresh(&token).await.unwrap()).await;
    assert_eq!(reply["expires_in"], "3600");
    let (simulator, token) = start(|faults| faults.expires_in_missing = 1.0).await;
    let reply = json(simulator.refresh(&token).await.unwrap()).await;
    assert!(reply["refresh_token"].is_string() && reply.get("expires_in").is_none());
}

#[tokio::test]
async fn a_reply_can_come_without_a_new_refresh_token() {
    let (simulator, token) = start(|faults| faults.no_new_refresh_token = 1.0).await;
    let reply = json(simulator.refresh(&token).await.unwrap()).await;
    assert!(reply["access_token"].is_string() && reply.get("refresh_token").is_none());
    assert_eq!(simulator.handle.token_state(&token), TokenState::Live);
}

#[tokio::test]
async fn an_invalid_grant_is_really_dead() {
    let (simulator, token) = start(|faults| faults.invalid_grant = 1.0).await;
    let response = simulator.refresh(&token).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json(response).await["error"], "invalid_grant");
    assert_eq!(simulator.handle.token_state(&token), TokenState::Revoked);
}

#[tokio::test]
async fn an_invalid_client_says_nothing_of_the_grant() {
    let (simulator, token) = start(|faults| faults.invalid_client = 1.0).await;
    let response = simulator.refresh(&token).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(json(response).await["error"], "invalid_client");
    assert_eq!(simulator.handle.token_state(&token), TokenState::Live);
}

#[tokio::test]
async fn latency_passes_after_the_rotation() {
    let settings = SimulatorSettings { latency_ms: 600_000, ..SimulatorSettings::default() };
    let simulator = Running::start(settings).await;
    let token = simulator.sign_in("ada");
    let stream = simulator.send_raw(&token).await;
    while simulator.handle.token_state(&token) == TokenState::Live {
        tokio::task::yield_now().await;
    }
    drop(stream);
    while simulator.handle.stats().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(simulator.handle.stats().client_gone, 1);
}
