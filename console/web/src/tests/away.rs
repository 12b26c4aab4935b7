//! Missing things: a broker, a document, a page.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use evergrant_domain::DeadReason;
use evergrant_ports::StoreError;

use super::browser::Browser;
use super::{Console, PAGES};

#[tokio::test]
async fn without_the_broker_pages_show_the_rest() {
    // Its queues do not exist, so requests for them are refused.
    let console = Console::new(false, &[], &[]);
    console.import(vec![serde_json::json!({ "_id": "alice", "email": "alice@example.com" })]).await;
    console.look().await;
    let mut browser = Browser::local(&console).await;
    for page in ["/", "/tokens", "/providers", "/workers", "/audit", "/dead-letters"] {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, StatusCode::OK, "{page}");
        assert!(answer.body.contains("The broker has not answered since"), "{page}");
    }
    assert!(browser.get("/tokens").await.body.contains("alice@example.com"));
    let redrive = browser.get("/dead-letters/confirm?do=redrive-all").await;
    assert_eq!(redrive.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_store_is_not_asked_repeatedly() {
    let console = Console::with_login();
    console.look().await;
    let asked = AtomicUsize::new(0);
    let ask = || {
        console.web.ask(|_| {
            asked.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<(), StoreError>>()
        })
    };
    for answer in futures::future::join_all((0..40).map(|_| ask())).await {
        assert_eq!(answer.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(asked.into_inner(), 16);
}

#[tokio::test]
async fn missing_things_are_reported_with_a_link() {
    let console = Console::local();
    console.bury("alice", DeadReason::AttemptsExhausted).await;
    console.look().await;
    let mut browser = Browser::local(&console).await;
    for (page, way) in [
        ("/tokens/show?id=nobody", "href=\"/tokens\""),
        ("/dead-letters/show?provider=p&key=gone", "href=\"/audit\""),
        ("/dead-letters/show?provider=q&key=x", "There are: p."),
        ("/nothing/here", "href=\"/\""),
    ] {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{page}");
        assert!(answer.body.contains(way), "{page}: {}", answer.body);
    }
    let none = browser.get("/dead-letters?user=nobody").await;
    assert!(none.body.contains("No dead letter matches"), "{}", none.body);
    let wrong = browser.get("/dead-letters?since=yesterday&reason=grant_dead").await;
    assert!(wrong.body.contains("since: not an RFC 3339 time"), "{}", wrong.body);
    let wrong = browser.get("/tokens?after=nonsense").await;
    assert!(wrong.body.contains("not a place in a listing"), "{}", wrong.body);
    let none = browser.get("/tokens?email=nobody%40example.com").await;
    assert!(none.body.contains("No grant matches"), "{}", none.body);
}

#[tokio::test]
async fn an_empty_console_says_what_to_do() {
    let console = Console::local();
    console.look().await;
    let mut browser = Browser::local(&console).await;
    for page in PAGES {
        let answer = browser.get(page).await;
        assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{page}");
    }
    assert!(browser.get("/tokens").await.body.contains("evergrant import"));
    assert!(browser.get("/workers").await.body.contains("evergrant run"));
    assert!(browser.get("/dead-letters").await.body.contains("nobody is losing access"));
}
