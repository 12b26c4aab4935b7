//! Untrusted text of users, providers and other processes is shown and has no effect.

use axum::http::StatusCode;
use evergrant_domain::audit::{ActionIntent, OperatorAction};
use evergrant_domain::heartbeat::{Heartbeat, LaneReport, ProcessRole};
use evergrant_domain::{DeadReason, DocumentId};
use evergrant_ports::{OperationsLog, WorkQueue, wall_clock};
use serde_json::json;

use super::browser::Browser;
use super::{Console, LIVE, PAGES, letter, provider};

/// A tag, the end of an attribute, and invisible characters: one changes the direction of text.
fn evil(place: &str) -> String {
    format!("<x-evil-{place} onload=a()>\"'x-evil='\u{202e}\u{1b}[31m\u{0}")
}

/// A console with hostile text in every field, and its pages.
async fn haunted() -> (Console, Vec<String>) {
    let console = Console::local();
    let id = DocumentId::String(evil("id"));
    console
        .import(vec![json!({
            "_id": evil("id"), "userId": evil("user"), "email": evil("email"),
            "access_token": "SECRET-access", "refresh_token": "SECRET-refresh",
            "evergrant": {
                "provider": "p", "status": "needs_reauth", "generation": 1, "attempts": 3,
                "next_refresh_at": { "$date": "2026-01-01T00:00:00Z" },
                "dead_fingerprint": "SECRET-fingerprint",
                "last_error": { "reason": "grant_dead", "http_status": 400, "code": evil("code"),
                    "description": evil("description"), "at": { "$date": "2026-01-01T00:00:00Z" } }
            }
        })])
        .await;
    let mut dead = letter(Some(id.clone()), DeadReason::GrantDead);
    dead.code = Some(evil("letter-code"));
    dead.description = Some(evil("letter-description"));
    dead.worker = Some(evil("worker"));
    console.queue.bury(&dead).await.unwrap();
    let store = &console.store;
    let intent = ActionIntent {
        who: evil("who"),
        action: OperatorAction::TokenRefresh,
        provider: Some(provider()),
        document: Some(id),
        request: json!({ "filter": { "user": evil("request") } }),
        why: evil("why"),
    };
    let entry = store.begin_audit(intent).await.unwrap();
    let progress =
        evergrant_domain::audit::ActionProgress { detail: evil("detail"), ..Default::default() };
    store.tell_audit(&entry.id, &progress).await.unwrap();
    let lanes = vec![LaneReport {
        provider: provider(),
        in_flight: 1,
        refreshed: 1,
        failed: 1,
        refreshed_lately: 1,
    }];
    let beat = Heartbeat {
        name: evil("name"),
        role: ProcessRole::Worker,
        version: evil("version"),
        host: evil("host"),
        pid: 1,
        started_at: wall_clock(),
        beat_at: wall_clock(),
        leads: false,
        lanes,
        problems: Vec::new(),
    };
    store.beat(&beat).await.unwrap();
    evergrant_budget::change_provider(&**store, &provider(), |state, now| {
        state.pause(None, evil("pause"), now);
    })
    .await
    .unwrap();
    console.look().await;
    let seen = console.web.letters.seen().taken.unwrap();
    let key = &seen.letters[0].key;
    let encoded: String = url::form_urlencoded::byte_serialize(evil("id").as_bytes()).collect();
    let pages = vec![
        format!("/dead-letters/show?provider=p&key={key}"),
        format!("/tokens/show?id={encoded}"),
        format!("/tokens?user={encoded}&email={encoded}"),
        format!("/tokens?id={encoded}x"),
        format!("/tokens?provider={encoded}"),
        format!("/dead-letters?reason={encoded}"),
        format!("/dead-letters?user={encoded}&email={encoded}&since={encoded}"),
        format!("/dead-letters/confirm?do=redrive&pick={encoded}"),
        format!("/dead-letters/confirm?do=discard-all&provider=p"),
        format!("/dead-letters/show?provider={encoded}&key={encoded}"),
        format!("/audit?who={encoded}&action={encoded}"),
        format!("/login?next={encoded}"),
        format!("/{encoded}"),
    ];
    (console, pages)
}

#[tokio::test]
async fn untrusted_text_is_shown_without_effect() {
    let (console, pages) = haunted().await;
    let mut browser = Browser::local(&console).await;
    let mut shown = String::new();
    let all = PAGES.iter().chain(&LIVE).map(|page| (*page).to_owned()).chain(pages);
    for page in all {
        let answer = browser.get(&page).await;
        let body = &answer.body;
        assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{page}");
        assert!(!body.contains("<x-evil"), "a tag on {page}: {body}");
        assert!(!body.contains("\"'x-evil"), "an attribute's end on {page}: {body}");
        for odd in ['\u{202e}', '\u{1b}', '\0'] {
            let plain = !body.contains(odd);
            // In a field that is sent again, the value must be unchanged; it is invisible there.
            let in_field = body.lines().filter(|l| l.contains(odd)).all(|l| l.contains("value=\""));
            assert!(plain || in_field, "{odd:?} on {page}: {body}");
        }
        shown.push_str(body);
    }
    // It was actually shown.
    for place in [
        "id",
        "user",
        "email",
        "code",
        "description",
        "letter-code",
        "letter-description",
        "worker",
        "who",
        "request",
        "why",
        "detail",
        "name",
        "version",
        "host",
        "pause",
    ] {
        assert!(shown.contains(&format!("x-evil-{place} ")), "{place} is shown nowhere");
    }
}

#[tokio::test]
async fn no_page_holds_a_token_or_a_derivative() {
    let (console, mut pages) = haunted().await;
    console.bury("alice", DeadReason::UncommittedAnswer).await;
    console.look().await;
    pages.push("/tokens/show?id=alice".to_owned());
    for letter in &console.web.letters.seen().taken.unwrap().letters {
        pages.push(format!("/dead-letters/show?provider=p&key={}", letter.key));
    }
    let mut browser = Browser::local(&console).await;
    let all = PAGES.iter().chain(&LIVE).map(|page| (*page).to_owned()).chain(pages);
    for page in all {
        let answer = browser.get(&page).await;
        let told = format!("{:?}{}", answer.headers, answer.body);
        assert!(!told.contains("SECRET"), "{page}: {told}");
    }
}
