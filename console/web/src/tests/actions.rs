//! Operators' actions.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_domain::{DeadReason, DocumentId, GrantStatus};
use evergrant_ports::{GrantAdmin, JobPublisher, ProviderStates, WorkQueue};
use serde_json::json;

use super::browser::Browser;
use super::{Console, letter, provider};

async fn status_of(console: &Console, id: &str) -> Option<GrantStatus> {
    let id = DocumentId::String(id.to_owned());
    console.store.get(&id).await.unwrap().unwrap().status
}

async fn ended(console: &Console) {
    let mut changes = console.web.bulk.changes();
    let ended = changes.wait_for(|last| last.as_ref().is_some_and(|running| !running.is_running()));
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn matching_letters_are_redriven_at_a_rate_and_recorded() {
    let console = Console::local();
    for n in 0..30 {
        console.bury(&format!("a{n}"), DeadReason::AttemptsExhausted).await;
    }
    console.bury("other", DeadReason::MalformedDocument).await;
    console.look().await;
    let mut browser = Browser::local(&console).await;
    let list = browser.get("/dead-letters?reason=attempts_exhausted").await;
    assert!(list.body.contains("Redrive all 30 that match"), "{}", list.body);
    let confirm = "/dead-letters/confirm?do=redrive-all&reason=attempts_exhausted";
    let confirm = browser.get(confirm).await;
    assert!(confirm.body.contains("Redrive 30 dead letters?"), "{}", confirm.body);
    let fields = [("do", "redrive"), ("reason", "attempts_exhausted"), ("rps", "20")];
    let refused = browser.post("/dead-letters/act", &fields).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "without a reason");
    assert!(console.audit().await.is_empty());

    let fields = [&fields[..], &[("why", "the cause is cured")]].concat();
    let began = std::time::Instant::now();
    assert_eq!(browser.post("/dead-letters/act", &fields).await.leads_to(), "/dead-letters/bulk");
    ended(&console).await;
    assert!(began.elapsed() >= Duration::from_millis(1_400), "{:?}", began.elapsed());
    assert_eq!((console.dead().await, console.queue.depth(&provider()).await.unwrap()), (1, 30));
    assert_eq!(status_of(&console, "a0").await, Some(GrantStatus::Active));
    assert_eq!(status_of(&console, "other").await, Some(GrantStatus::Failed));
    let page = browser.get("/dead-letters/bulk").await;
    assert!(page.body.contains("30 of 30"), "{}", page.body);
    let [entry] = &console.audit().await[..] else { panic!("one entry") };
    assert_eq!(
        (entry.action, entry.progress.outcome),
        (OperatorAction::Redrive, ActionOutcome::Done)
    );
    assert_eq!((entry.progress.done, entry.why.as_str()), (30, "the cause is cured"));
    assert_eq!(entry.who, "me");
    let audit = browser.get("/audit").await;
    assert!(audit.body.contains("the cause is cured"));
}

#[tokio::test]
async fn only_ticked_letters_are_discarded_after_a_confirmation() {
    let console = Console::local();
    for id in ["a", "b", "42"] {
        console.bury(id, DeadReason::AttemptsExhausted).await;
    }
    console.look().await;
    let mut browser = Browser::local(&console).await;
    let nothing = browser.get("/dead-letters/confirm?do=discard").await;
    assert_eq!(nothing.status, StatusCode::BAD_REQUEST);
    // A string that looks like a number is written as in JSON.
    let list = browser.get("/dead-letters").await;
    assert!(list.body.contains("value=\"&#34;42&#34;\""), "{}", list.body);
    let confirm = browser.get("/dead-letters/confirm?do=discard&pick=a&pick=%2242%22").await;
    assert!(confirm.body.contains("Discard 2 dead letters?"), "{}", confirm.body);
    let fields = [("do", "discard"), ("why", "gone"), ("pick", "a"), ("pick", "\"42\"")];
    let unsure = browser.post("/dead-letters/act", &fields).await;
    assert_eq!((unsure.status, console.dead().await), (StatusCode::BAD_REQUEST, 3));
    browser.post("/dead-letters/act", &[&fields[..], &[("sure", "yes")]].concat()).await;
    ended(&console).await;
    assert_eq!(console.dead().await, 1);
    assert_eq!(status_of(&console, "a").await, Some(GrantStatus::Failed), "documents stay");
}

#[tokio::test]
async fn one_bulk_action_runs_and_can_be_cancelled() {
    let console = Console::with_exhausted(100).await;
    let mut browser = Browser::local(&console).await;
    browser.get("/dead-letters").await;
    let fields = [("do", "redrive"), ("why", "a test"), ("rps", "20")];
    browser.post("/dead-letters/act", &fields).await;
    let mut changes = console.web.bulk.changes();
    changes.wait_for(|last| last.as_ref().is_some_and(|running| running.done >= 3)).await.unwrap();
    let second = browser.post("/dead-letters/act", &fields).await;
    assert_eq!(second.status, StatusCode::CONFLICT);
    assert!(second.body.contains("is under way"), "{}", second.body);
    let live = browser.get("/live/bulk").await;
    assert!(
        live.body.starts_with("event: part") && live.body.contains("<progress"),
        "{}",
        live.body
    );
    browser.post("/dead-letters/cancel", &[]).await;
    ended(&console).await;
    let left = console.dead().await;
    assert!((1..=97).contains(&left), "{left}");
    let [entry] = &console.audit().await[..] else { panic!("one entry") };
    assert_eq!(entry.progress.outcome, ActionOutcome::Cancelled);
    assert_eq!(entry.progress.done, 100 - left);

    // The rest can be resumed, once.
    let audit = browser.get("/audit").await;
    assert!(audit.body.contains("action=\"/dead-letters/resume\""), "{}", audit.body);
    let id = entry.id.clone();
    browser.post("/dead-letters/resume", &[("id", &id)]).await;
    ended(&console).await;
    assert_eq!(console.dead().await, 0);
    let entries = console.audit().await;
    assert_eq!((entries.len(), entries[0].progress.outcome), (2, ActionOutcome::Done));
    assert!(entries[1].progress.detail.starts_with("gone on with as"), "{entries:?}");
    assert!(!browser.get("/audit").await.body.contains("/dead-letters/resume"));
    let unknown = browser.post("/dead-letters/resume", &[("id", "nothing")]).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_grant_is_paused_resumed_refreshed_and_forgotten() {
    let console = Console::local();
    console.bury("alice", DeadReason::AttemptsExhausted).await;
    console.look().await;
    let mut browser = Browser::local(&console).await;
    browser.get("/tokens/show?id=alice").await;
    for (what, status) in [
        ("refresh", Some(GrantStatus::Active)),
        ("pause", Some(GrantStatus::Paused)),
        ("resume", Some(GrantStatus::Active)),
        ("forget", None),
    ] {
        let fields = [("do", what), ("id", "alice"), ("why", "a test")];
        let answer = browser.post("/tokens/act", &fields).await;
        assert_eq!(answer.leads_to(), "/tokens/show?id=alice", "{what}: {}", answer.body);
        assert_eq!(status_of(&console, "alice").await, status, "{what}");
        let page = browser.get("/tokens/show?id=alice").await;
        assert!(page.body.contains("class=\"note done\""), "{what} is not told");
    }
    assert_eq!(console.queue.depth(&provider()).await.unwrap(), 1);
    assert_eq!(console.audit().await.len(), 4);
    // An impossible action is reported and recorded.
    let again = browser.post("/tokens/act", &[("do", "resume"), ("id", "alice")]).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(console.audit().await[0].progress.outcome, ActionOutcome::Nothing);
}

#[tokio::test]
async fn a_grant_with_tokens_in_a_letter_cannot_be_changed() {
    let console = Console::local();
    let at = json!({ "$date": "2026-01-01T00:00:00Z" });
    let state = json!({ "provider": "p", "status": "failed", "generation": 1,
                        "last_error": { "reason": "uncommitted_answer", "at": at } });
    let document = json!({ "_id": "alice", "refresh_token": "spent", "evergrant": state });
    console.import(vec![document]).await;
    console.look().await;
    let mut browser = Browser::local(&console).await;
    browser.get("/tokens/show?id=alice").await;
    for what in ["refresh", "forget"] {
        let fields = [("do", what), ("id", "alice"), ("why", "a test")];
        let answer = browser.post("/tokens/act", &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        assert!(answer.body.contains("uncommitted_answer"), "{what}: {}", answer.body);
        assert_eq!(status_of(&console, "alice").await, Some(GrantStatus::Failed), "{what}");
    }
}

#[tokio::test]
async fn a_provider_is_paused_for_a_reason_limited_and_resumed() {
    let console = Console::local();
    console.look().await;
    let mut browser = Browser::local(&console).await;
    browser.get("/providers").await;
    let act = [("provider", "p"), ("do", "pause"), ("for", "2h")];
    assert_eq!(browser.post("/providers/act", &act).await.status, StatusCode::BAD_REQUEST);
    let why = [&act[..], &[("why", "their maintenance")]].concat();
    assert_eq!(browser.post("/providers/act", &why).await.leads_to(), "/providers#p");
    let page = browser.get("/providers").await;
    assert!(
        page.body.contains("their maintenance") && page.body.contains("paused"),
        "{}",
        page.body
    );
    // Meanwhile redriven jobs wait, and the confirmation says so.
    console.bury("alice", DeadReason::AttemptsExhausted).await;
    console.look().await;
    let confirm = browser.get("/dead-letters/confirm?do=redrive-all").await;
    assert!(confirm.body.contains("p is paused (their maintenance)"), "{}", confirm.body);
    for (limits, status) in [("5/s, 100/min", 303), ("5/s, 1000/min", 400), ("many", 400)] {
        let fields = [("provider", "p"), ("do", "limit"), ("limits", limits)];
        assert_eq!(browser.post("/providers/act", &fields).await.status, status, "{limits}");
    }
    let state = console.store.provider_state(&provider()).await.unwrap().value;
    assert_eq!(state.limits.unwrap().len(), 2);
    browser.post("/providers/act", &[("provider", "p"), ("do", "limit-reset")]).await;
    browser.post("/providers/act", &[("provider", "p"), ("do", "resume")]).await;
    let state = console.store.provider_state(&provider()).await.unwrap().value;
    assert_eq!((state.limits, state.pause), (None, None));
    let unknown = browser.post("/providers/act", &[("provider", "q"), ("do", "resume")]).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_theme_is_kept_and_leads_back() {
    let console = Console::local();
    let mut browser = Browser::local(&console).await;
    let page = browser.get("/workers").await;
    assert!(page.body.contains("data-theme=\"system\""));
    browser.post("/theme", &[("theme", "dark")]).await;
    let page = browser.get("/workers").await;
    assert!(page.body.contains("data-theme=\"dark\""));
}

#[tokio::test]
async fn a_bulk_action_outlives_its_page_but_not_the_console() {
    let console = Console::with_exhausted(50).await;
    let mut browser = Browser::local(&console).await;
    browser.get("/dead-letters").await;
    let fields = [("do", "redrive"), ("why", "a test"), ("rps", "20")];
    browser.post("/dead-letters/act", &fields).await;
    drop(browser);
    let web = Arc::clone(&console.web);
    let mut changes = web.bulk.changes();
    changes.wait_for(|last| last.as_ref().is_some_and(|running| running.done >= 2)).await.unwrap();
    web.end_bulk().await;
    let [entry] = &console.audit().await[..] else { panic!("one entry") };
    assert_eq!(entry.progress.outcome, ActionOutcome::Cancelled);
    assert_eq!(console.dead().await + entry.progress.done, 50, "nothing is lost");
}

/// The hidden fields of a page's form.
fn hidden(page: &str) -> Vec<(String, String)> {
    let fields = page.split("<input type=\"hidden\" name=\"").skip(1);
    let fields = fields.filter_map(|field| {
        let (name, rest) = field.split_once('"')?;
        let value = rest.strip_prefix(" value=\"")?.split_once('"')?.0;
        Some((name.to_owned(), value.to_owned()))
    });
    fields.filter(|(name, _)| name != "csrf").collect()
}

#[tokio::test]
async fn a_letter_newer_than_the_page_is_not_discarded() {
    let console = Console::local();
    for id in ["a", "b", "c"] {
        console.bury(id, DeadReason::AttemptsExhausted).await;
    }
    console.look().await;
    let mut browser = Browser::local(&console).await;
    let confirm = browser.get("/dead-letters/confirm?do=discard-all").await;
    assert!(confirm.body.contains("Discard 3 dead letters?"), "{}", confirm.body);
    for reason in [DeadReason::AttemptsExhausted, DeadReason::UncommittedAnswer] {
        let mut late = letter(Some(DocumentId::String("late".to_owned())), reason);
        late.last_failed_at = late.last_failed_at.plus(Duration::from_secs(60));
        console.queue.bury(&late).await.unwrap();
    }
    console.look().await;
    let fields = hidden(&confirm.body);
    let mut fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    fields.extend([("why", "they are old"), ("sure", "yes")]);
    browser.post("/dead-letters/act", &fields).await;
    ended(&console).await;
    assert_eq!(console.dead().await, 2);
}

#[tokio::test]
async fn letters_with_new_tokens_have_their_own_checkbox() {
    let console = Console::local();
    console.bury("a", DeadReason::AttemptsExhausted).await;
    console.bury("b", DeadReason::UncommittedAnswer).await;
    console.look().await;
    let mut browser = Browser::local(&console).await;
    let confirm = browser.get("/dead-letters/confirm?do=discard-all").await;
    assert!(confirm.body.contains("Discard 1 dead letter?"), "{}", confirm.body);
    assert!(confirm.body.contains("name=\"uncommitted\""), "{}", confirm.body);
    let fields = [("do", "discard"), ("why", "old"), ("sure", "yes")];
    browser.post("/dead-letters/act", &fields).await;
    ended(&console).await;
    assert_eq!(console.dead().await, 1);
    let page = browser.get("/dead-letters/bulk").await;
    assert!(page.body.contains("uncommitted_answer"), "{}", page.body);
    let fields = [&fields[..], &[("uncommitted", "yes")]].concat();
    browser.post("/dead-letters/act", &fields).await;
    ended(&console).await;
    assert_eq!(console.dead().await, 0);
}
