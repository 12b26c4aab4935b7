//! Logins with an OpenID provider.

use axum::http::StatusCode;
use evergrant_domain::audit::OperatorAction;
use serde_json::{Value, json};

use super::Console;
use super::browser::{Browser, Page};
use super::openid_provider::{CLIENT_ID, CLIENT_SECRET, Lie, OpenIdProvider};

/// Where a login begins that leads to the workers.
const BEGIN: &str = "/login/oidc?next=%2Fworkers";

/// A console with logins at the provider, and users with passwords as well.
fn console(provider: &OpenIdProvider) -> Console {
    Console::with_settings(&[
        ("CONSOLE__PUBLIC_URL", "http://localhost:8480"),
        ("CONSOLE__OIDC__ISSUER", &provider.issuer()),
        ("CONSOLE__OIDC__CLIENT_ID", CLIENT_ID),
        ("CONSOLE__OIDC__CLIENT_SECRET", CLIENT_SECRET),
        ("CONSOLE__OIDC__LABEL", "Example login"),
        ("CONSOLE__OIDC__OPERATORS", r#"["platform"]"#),
        ("CONSOLE__OIDC__VIEWERS", r#"["support"]"#),
    ])
}

fn ann(groups: &[&str]) -> Value {
    // Auth0 sends times as text.
    let updated_at = "2026-11-29T08:00:00.000Z";
    json!({ "preferred_username": "ann", "groups": groups, "updated_at": updated_at })
}

/// The page after a login with these claims.
async fn log_in(browser: &mut Browser<'_>, provider: &OpenIdProvider, claims: &Value) -> Page {
    let sent = browser.get(BEGIN).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.body);
    let back = provider.sign_in(sent.leads_to(), claims);
    browser.get(&back).await
}

async fn is_in(browser: &mut Browser<'_>) -> bool {
    browser.get("/workers").await.status == StatusCode::OK
}

#[tokio::test]
async fn an_openid_login_leads_to_the_requested_page() {
    let provider = OpenIdProvider::start().await;
    let console = console(&provider);
    let mut browser = Browser::new(&console);
    let login = browser.get("/login?next=%2Fworkers").await;
    assert!(login.body.contains("Log in with Example login"), "{}", login.body);
    assert!(login.body.contains(r#"href="/login/oidc?next=%2Fworkers""#), "{}", login.body);
    let page = log_in(&mut browser, &provider, &ann(&["platform"])).await;
    assert_eq!(
        (page.status, page.leads_to()),
        (StatusCode::SEE_OTHER, "/workers"),
        "{}",
        page.body
    );
    let workers = browser.get("/workers").await;
    assert_eq!(workers.status, StatusCode::OK);
    assert!(
        workers.body.contains("<strong>openid:ann</strong>") && workers.body.contains("operator")
    );
    browser.post("/logout", &[]).await;
    assert!(!is_in(&mut browser).await);
    // The metadata is requested once.
    let mut other = Browser::new(&console);
    log_in(&mut other, &provider, &ann(&["platform"])).await;
    assert!(is_in(&mut other).await);
    assert_eq!(provider.discoveries(), 1);
}

#[tokio::test]
async fn openid_groups_decide_the_role() {
    let provider = OpenIdProvider::start().await;
    let console = console(&provider);
    let mut viewer = Browser::new(&console);
    log_in(&mut viewer, &provider, &ann(&["support"])).await;
    assert!(is_in(&mut viewer).await);
    let act = [("do", "pause"), ("provider", "p"), ("why", "a test")];
    let refused = viewer.post("/providers/act", &act).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let mut stranger = Browser::new(&console);
    let page = log_in(&mut stranger, &provider, &ann(&["sales"])).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.body.contains("in no group that may use this console"), "{}", page.body);
    assert!(!is_in(&mut stranger).await);
}

#[tokio::test]
async fn an_invalid_id_token_is_refused() {
    let provider = OpenIdProvider::start().await;
    for lie in Lie::ALL {
        let console = console(&provider);
        let mut browser = Browser::new(&console);
        provider.lie(Some(lie));
        let page = log_in(&mut browser, &provider, &ann(&["platform"])).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{lie:?}: {}", page.body);
        assert!(page.body.contains("did not confirm who you are"), "{lie:?}: {}", page.body);
        assert!(!is_in(&mut browser).await, "{lie:?}");
        provider.lie(None);
        log_in(&mut browser, &provider, &ann(&["platform"])).await;
        assert!(is_in(&mut browser).await, "after {lie:?}");
    }
}

#[tokio::test]
async fn an_answer_to_another_browsers_login_is_refused() {
    let provider = OpenIdProvider::start().await;
    let console = console(&provider);
    let (mut mine, mut theirs) = (Browser::new(&console), Browser::new(&console));
    let sent = theirs.get(BEGIN).await;
    let back = provider.sign_in(sent.leads_to(), &ann(&["platform"]));
    for page in [mine.get(&back).await, {
        mine.get(BEGIN).await;
        mine.get(&back).await
    }] {
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        assert!(page.body.contains("in another browser"), "{}", page.body);
    }
    assert!(!is_in(&mut mine).await);
    // A code is valid once, and only with the secret of this browser.
    assert_eq!(theirs.get(&back).await.status, StatusCode::SEE_OTHER);
    let mut again = Browser::new(&console);
    let sent = again.get(BEGIN).await;
    let mine = provider.sign_in(sent.leads_to(), &ann(&["platform"]));
    let state = mine.split("state=").nth(1).unwrap();
    let stolen = format!("/login/oidc/callback?code=SECRET-code-0&state={state}");
    assert_eq!(again.get(&stolen).await.status, StatusCode::FORBIDDEN);
    let of_another = mine.replace("iss=http", "iss=https");
    assert_eq!(again.get(&of_another).await.status, StatusCode::FORBIDDEN);
    assert!(!is_in(&mut again).await);
}

#[tokio::test]
async fn a_login_cancelled_at_the_provider_is_reported() {
    let provider = OpenIdProvider::start().await;
    let console = console(&provider);
    for error in ["access_denied", "invalid_scope", "%1b%5b2J"] {
        let mut browser = Browser::new(&console);
        let sent = browser.get(BEGIN).await;
        let back = provider.sign_in(sent.leads_to(), &ann(&["platform"]));
        let state = back.split("state=").nth(1).unwrap();
        let page = browser.get(&format!("/login/oidc/callback?error={error}&state={state}")).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{error}");
        assert!(page.body.contains("did not confirm who you are"), "{}", page.body);
        assert!(!is_in(&mut browser).await, "{error}");
    }
}

#[tokio::test]
async fn changed_provider_keys_are_reloaded() {
    let provider = OpenIdProvider::start().await;
    let console = console(&provider);
    log_in(&mut Browser::new(&console), &provider, &ann(&["support"])).await;
    provider.change_key();
    let mut browser = Browser::new(&console);
    log_in(&mut browser, &provider, &ann(&["support"])).await;
    assert!(is_in(&mut browser).await);
}

#[tokio::test]
async fn an_unavailable_provider_is_reported_and_passwords_work() {
    let away = Console::with_settings(&[
        ("CONSOLE__PUBLIC_URL", "http://localhost:8480"),
        ("CONSOLE__OIDC__ISSUER", "http://127.0.0.1:1"),
        ("CONSOLE__OIDC__CLIENT_ID", CLIENT_ID),
        ("CONSOLE__OIDC__VIEWERS", r#"["support"]"#),
    ]);
    let mut browser = Browser::new(&away);
    let page = browser.get(BEGIN).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.body.contains("is not available now"), "{}", page.body);
    Browser::signed_in(&away, "otto").await;
    // Without such logins there is no return address.
    let without = Console::with_login();
    let mut browser = Browser::new(&without);
    for path in ["/login/oidc", "/login/oidc/callback?code=x&state=y"] {
        assert_eq!(browser.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn an_openid_login_never_leads_to_another_site() {
    let provider = OpenIdProvider::start().await;
    let console = console(&provider);
    for next in ["https://evil.example", "//evil.example", "/\\evil.example", &"/x".repeat(2_000)] {
        let mut browser = Browser::new(&console);
        let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let sent = browser.get(&format!("/login/oidc?next={next}")).await;
        let back = provider.sign_in(sent.leads_to(), &ann(&["support"]));
        assert_eq!(browser.get(&back).await.leads_to(), "/", "{next}");
    }
}

#[tokio::test]
async fn logins_and_refusals_are_in_the_audit_record_without_a_secret() {
    let provider = OpenIdProvider::start().await;
    let console = console(&provider);
    let mut ann_s = Browser::new(&console);
    log_in(&mut ann_s, &provider, &ann(&["support"])).await;
    ann_s.get("/workers").await;
    let act = [("do", "pause"), ("provider", "p"), ("why", "a test")];
    ann_s.post("/providers/act", &act).await;
    ann_s.post("/logout", &[]).await;
    let mut stranger = Browser::new(&console);
    log_in(&mut stranger, &provider, &ann(&["sales"])).await;
    for _ in 0..3 {
        stranger.log_in("otto", "SECRET-not the password").await;
    }
    stranger.log_in("SECRET-a password as a name", "x").await;
    Browser::signed_in(&console, "otto").await;
    let audit = console.audit_with_logins().await;
    let found = |action: OperatorAction, who: &str| {
        let mut entries = audit.iter().filter(|entry| entry.action == action && entry.who == who);
        let entry = entries.next().unwrap_or_else(|| panic!("{action} of {who}: {audit:?}"));
        assert!(entries.next().is_none(), "{action} of {who} twice");
        entry
    };
    assert_eq!(found(OperatorAction::Login, "openid:ann").request["subject"], "00u1");
    assert_eq!(found(OperatorAction::Logout, "openid:ann").request["address"], "127.0.0.1");
    assert_eq!(
        found(OperatorAction::ActionRefused, "openid:ann").progress.detail,
        "/providers/act"
    );
    assert!(found(OperatorAction::LoginRefused, "openid:ann").progress.detail.contains("no group"));
    assert_eq!(found(OperatorAction::LoginRefused, "otto").progress.done, 3);
    assert_eq!(found(OperatorAction::LoginRefused, "unknown").progress.done, 1);
    assert_eq!(found(OperatorAction::Login, "otto").request["way"], "password");
    assert!(!format!("{audit:?}").contains("SECRET"), "{audit:?}");
}
