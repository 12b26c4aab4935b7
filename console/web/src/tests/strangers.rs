//! What an anonymous visitor can use.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};

use super::browser::{Browser, Page};
use super::{Console, PASSWORD};

#[tokio::test]
async fn requests_without_a_person_get_no_cookie() {
    let console = Console::with_login();
    let mut browser = Browser::new(&console);
    for path in ["/healthz", "/assets/console.css", "/assets/icon.svg", "/live/overview"] {
        let answer = browser.get(path).await;
        assert!(!answer.headers.contains_key(header::SET_COOKIE), "{path}");
    }
    assert!(browser.get("/login").await.headers.contains_key(header::SET_COOKIE));
}

#[tokio::test]
async fn repeated_logins_do_not_evade_the_limit() {
    let console = Console::with_login();
    let mut vera = Browser::signed_in(&console, "vera").await;
    let mut limited = 0;
    for _ in 0..40 {
        let device = vera.cookies["evergrant_device"].clone();
        vera = Browser::new(&console);
        vera.cookies.insert("evergrant_device".to_owned(), device);
        if vera.log_in("vera", PASSWORD).await.status == StatusCode::TOO_MANY_REQUESTS {
            limited += 1;
        }
    }
    assert!(limited >= 25, "{limited} of 40");
}

#[tokio::test(start_paused = true)]
async fn many_failed_logins_do_not_lock_the_operator_out() {
    let console = Console::with_login();
    // The browser that otto has used before.
    let mut known = Browser::signed_in(&console, "otto").await;
    known.post("/logout", &[]).await;
    let mut attacker = Browser::new(&console);
    attacker.get("/login").await;
    let mut tried = 0;
    for n in 0..10_000_u32 {
        attacker.address = (0x0a00_0000 + n % 500).into();
        let answer = attacker.log_in("otto", "wrong").await;
        match answer.status {
            StatusCode::UNAUTHORIZED => tried += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                assert!(answer.headers.contains_key(header::RETRY_AFTER));
            }
            other => panic!("{other}"),
        }
    }
    assert!(tried <= 20, "{tried} guesses");
    known.get("/login").await;
    assert_eq!(known.log_in("otto", PASSWORD).await.leads_to(), "/");
    // And with another browser, a little later.
    tokio::time::advance(Duration::from_secs(10)).await;
    let mut fresh = Browser::new(&console);
    assert_eq!(fresh.log_in("otto", PASSWORD).await.leads_to(), "/");
}

/// An anonymous form whose body never ends.
async fn send_endlessly(browser: &mut Browser<'_>, origin: &str) -> Page {
    let cookie = format!("evergrant_session={}", browser.cookies["evergrant_session"]);
    let begun = futures::stream::iter([Ok::<_, std::io::Error>("name=otto&")]);
    let body = futures::StreamExt::chain(begun, futures::stream::pending());
    let request = Request::post("/login")
        .header(header::HOST, "localhost:8480")
        .header(header::COOKIE, cookie)
        .header(header::ORIGIN, origin);
    browser.send(request.body(Body::from_stream(body)).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn an_endless_form_is_not_waited_for() {
    let console = Console::with_login();
    let mut browser = Browser::new(&console);
    browser.get("/login").await;
    let answer = send_endlessly(&mut browser, "http://localhost:8480").await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    let began = tokio::time::Instant::now();
    let foreign = send_endlessly(&mut browser, "https://evil.example").await;
    assert_eq!((foreign.status, began.elapsed()), (StatusCode::FORBIDDEN, Duration::ZERO));
}

#[tokio::test]
async fn an_anonymous_form_is_limited_in_size() {
    let console = Console::with_login();
    let long = "x".repeat(17 * 1_024);
    let mut browser = Browser::new(&console);
    let stranger = browser.post_exactly("/login", &[("name", &long)]).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN, "not even read");
    browser.get("/login").await;
    assert_eq!(browser.log_in("otto", &long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let many = vec![("a", "1"); 2_000];
    assert_eq!(browser.post("/login", &many).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let mut otto = Browser::signed_in(&console, "otto").await;
    assert_eq!(otto.post("/theme", &[("theme", &long)]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(otto.post("/theme", &many).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn unknown_browsers_get_a_retry_time_under_load() {
    let console = Console::with_login();
    let mut known = Browser::signed_in(&console, "otto").await;
    known.post("/logout", &[]).await;
    known.get("/login").await;
    let guessing = console.web.door.passwords.fill();
    let mut stranger = Browser::new(&console);
    let answer = stranger.log_in("otto", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    assert!(answer.body.contains("Too many logins right now"), "{}", answer.body);
    assert_eq!(known.log_in("otto", PASSWORD).await.leads_to(), "/");
    drop(guessing);
    assert_eq!(stranger.log_in("otto", PASSWORD).await.leads_to(), "/");
}
