//! Access to the console.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use evergrant_domain::DeadReason;

use super::browser::Browser;
use super::{ACTIONS, Console, LIVE, PAGES, PASSWORD};

#[tokio::test]
async fn without_a_login_nothing_is_shown_or_done() {
    let console = Console::with_login();
    console.bury("alice", DeadReason::AttemptsExhausted).await;
    let mut browser = Browser::new(&console);
    for page in PAGES {
        let answer = browser.get(page).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{page}");
        assert!(answer.leads_to().starts_with("/login?next=%2F"), "{page}");
        assert!(answer.body.is_empty(), "{page}");
    }
    for live in LIVE {
        let answer = browser.get(live).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::UNAUTHORIZED, ""), "{live}");
    }
    browser.get("/login").await;
    for (action, fields) in ACTIONS {
        let answer = browser.post(action, fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{action}");
        assert!(answer.leads_to().starts_with("/login"), "{action}");
    }
    let unknown = browser.get("/anything/else").await;
    assert_eq!(unknown.status, StatusCode::SEE_OTHER);
    assert!(console.audit().await.is_empty());
    assert_eq!(console.dead().await, 1);
    let open =
        ["/login", "/healthz", "/assets/console.css", "/assets/console.js", "/assets/icon.svg"];
    for open in open {
        let answer = browser.get(open).await;
        assert_eq!(answer.status, StatusCode::OK, "{open}");
        assert!(!answer.body.contains("alice"), "{open}");
    }
}

#[tokio::test]
async fn a_viewer_sees_every_page_and_cannot_act() {
    let console = Console::with_login();
    console.bury("alice", DeadReason::AttemptsExhausted).await;
    console.look().await;
    let mut vera = Browser::signed_in(&console, "vera").await;
    for page in PAGES {
        let answer = vera.get(page).await;
        let found = [StatusCode::OK, StatusCode::NOT_FOUND].contains(&answer.status);
        assert!(found, "{page}: {}", answer.status);
        // The confirmation is only a snapshot; no other page offers actions.
        let offers = ["/act\"", "/cancel\""].iter().any(|act| answer.body.contains(act));
        assert!(!offers || page.starts_with("/dead-letters/confirm"), "{page}");
    }
    for (action, fields) in ACTIONS {
        let answer = vera.post(action, fields).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action}");
        assert!(answer.body.contains("vera is a viewer"), "{action}");
    }
    assert!(console.audit().await.is_empty());
    assert_eq!(console.dead().await, 1);
}

#[tokio::test]
async fn a_form_with_a_missing_or_foreign_token_fails() {
    let console = Console::with_login();
    let mut otto = Browser::signed_in(&console, "otto").await;
    let theirs = Browser::signed_in(&console, "vera").await.csrf;
    for token in [None, Some(""), Some("0"), Some(theirs.as_str())] {
        for (action, fields) in ACTIONS {
            let fields: Vec<_> =
                fields.iter().copied().chain(token.map(|token| ("csrf", token))).collect();
            let answer = otto.post_exactly(action, &fields).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{action} {token:?}");
            assert!(answer.body.contains("Nothing was done"), "{action} {token:?}");
        }
    }
    assert!(console.audit().await.is_empty());
}

#[tokio::test]
async fn a_form_from_another_site_fails() {
    let console = Console::local();
    console.look().await;
    let mut browser = Browser::local(&console).await;
    browser.get("/").await;
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let cookie = format!("evergrant_session={}", browser.cookies["evergrant_session"]);
        let body = format!("do=pause&provider=p&why=x&csrf={}", browser.csrf);
        let request = Request::builder()
            .method("POST")
            .uri("/providers/act")
            .header(header::HOST, "localhost:8480")
            .header(header::COOKIE, cookie)
            .header(name, value);
        let answer = browser.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    assert!(console.audit().await.is_empty());
}

#[tokio::test]
async fn a_forged_cookie_is_nobodys() {
    let console = Console::with_login();
    let otto = Browser::signed_in(&console, "otto").await;
    let real = otto.cookies["evergrant_session"].clone();
    let mut turned = real.clone().into_bytes();
    let last = turned.len() - 1;
    turned[last] = if turned[last] == b'a' { b'b' } else { b'a' };
    let flipped_first = format!("{}{}", if real.starts_with('A') { "B" } else { "A" }, &real[1..]);
    let elsewhere = Console::with_login();
    let theirs = Browser::signed_in(&elsewhere, "otto").await.cookies["evergrant_session"].clone();
    for forged in [
        "otto".to_owned(),
        String::from_utf8(turned).unwrap(),
        flipped_first,
        theirs,
        String::new(),
    ] {
        let mut browser = Browser::new(&console);
        browser.cookies.insert("evergrant_session".to_owned(), forged.clone());
        let answer = browser.get("/audit").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{forged}");
    }
    let mut browser = Browser::new(&console);
    browser.cookies.insert("evergrant_session".to_owned(), real);
    assert_eq!(browser.get("/audit").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_login_gets_a_new_cookie_and_a_logout_ends_it() {
    let console = Console::with_login();
    let mut otto = Browser::new(&console);
    otto.get("/login").await;
    let before = otto.cookies["evergrant_session"].clone();
    otto.log_in("otto", PASSWORD).await;
    let during = otto.cookies["evergrant_session"].clone();
    assert_ne!(before, during);
    otto.get("/workers").await;
    assert_eq!(otto.post("/logout", &[]).await.leads_to(), "/login");
    otto.cookies.insert("evergrant_session".to_owned(), during);
    assert_eq!(otto.get("/workers").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn removed_and_demoted_users_lose_access_at_once() {
    let console = Console::with_login();
    console.look().await;
    let mut otto = Browser::signed_in(&console, "otto").await;
    let users = console.users_file();
    let before = std::fs::read_to_string(&users).unwrap();
    std::fs::write(&users, before.replace(":operator:", ":viewer:")).unwrap();
    let (action, fields) = ACTIONS[4];
    assert_eq!(otto.post(action, fields).await.status, StatusCode::FORBIDDEN);
    super::write_users(&users, &[]);
    assert_eq!(otto.get("/").await.status, StatusCode::SEE_OTHER);
    // The same line again, as after a mistake: the login stays ended.
    std::fs::write(&users, before).unwrap();
    assert_eq!(otto.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_changed_password_ends_all_logins_of_its_user() {
    let console = Console::with_login();
    console.look().await;
    let mut otto = Browser::signed_in(&console, "otto").await;
    let mut elsewhere = Browser::signed_in(&console, "otto").await;
    let mut vera = Browser::signed_in(&console, "vera").await;
    let file = super::UsersFile::new(&console.users_file());
    let new = secrecy::SecretString::from("another password");
    file.add("otto".parse().unwrap(), super::UserRole::Operator, &new).unwrap();
    assert_eq!(otto.get("/tokens").await.status, StatusCode::SEE_OTHER);
    let (action, fields) = ACTIONS[4];
    assert!(elsewhere.post(action, fields).await.leads_to().starts_with("/login"));
    assert!(console.audit().await.is_empty());
    assert_eq!(vera.get("/tokens").await.status, StatusCode::OK);

    let mut again = Browser::new(&console);
    again.log_in("otto", "another password").await;
    assert_eq!(again.get("/tokens").await.status, StatusCode::OK);
    file.remove(&"otto".parse().unwrap()).unwrap();
    file.add("otto".parse().unwrap(), super::UserRole::Operator, &new).unwrap();
    assert_eq!(again.get("/tokens").await.status, StatusCode::SEE_OTHER, "another of that name");
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_no_login_alive() {
    let console = Console::with_login();
    console.look().await;
    let mut otto = Browser::signed_in(&console, "otto").await;
    for _ in 0..61 {
        tokio::time::advance(Duration::from_secs(60)).await;
        otto.get("/live/overview").await;
        otto.get("/assets/console.css").await;
    }
    assert_eq!(otto.get("/live/overview").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(otto.get("/tokens").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_login_of_its_reader() {
    use futures::StreamExt;
    let console = Console::with_login();
    console.look().await;
    let mut otto = Browser::signed_in(&console, "otto").await;
    let mut stream = otto.open("/live/overview").await;
    assert!(stream.next().await.is_some());
    otto.post("/logout", &[]).await;
    let began = tokio::time::Instant::now();
    while stream.next().await.is_some() {}
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn with_tls_the_browser_is_told_to_require_it() {
    let https = [("CONSOLE__PUBLIC_URL", "https://localhost:8480")];
    let console = Console::with_settings(&https);
    let mut otto = Browser::signed_in(&console, "otto").await;
    let page = otto.get("/workers").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.headers["strict-transport-security"], "max-age=31536000");
    let names: Vec<_> = otto.cookies.keys().collect();
    assert!(names.iter().all(|name| name.starts_with("__Host-evergrant_")), "{names:?}");
    let plain = Console::with_login();
    let page = Browser::new(&plain).get("/login").await;
    assert!(!page.headers.contains_key("strict-transport-security"));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_ends_before_an_action_leads_back() {
    let console = Console::with_login();
    console.bury("alice", DeadReason::AttemptsExhausted).await;
    console.look().await;
    let mut otto = Browser::signed_in(&console, "otto").await;
    otto.get("/tokens/show?id=alice").await;
    tokio::time::advance(Duration::from_secs(2 * 3_600)).await;
    let answer = otto.post("/tokens/act", &[("do", "refresh"), ("id", "alice")]).await;
    assert!(answer.leads_to().starts_with("/login?next="), "{}", answer.leads_to());
    assert!(console.audit().await.is_empty());
    let login = otto.get("/login?next=%2Ftokens%2Fshow%3Fid%3Dalice").await;
    assert!(login.body.contains("Your session has ended, so nothing was done"), "{}", login.body);
    let fields = [("name", "otto"), ("password", PASSWORD), ("next", "/tokens/show?id=alice")];
    let back = otto.post("/login", &fields).await;
    assert_eq!(back.leads_to(), "/tokens/show?id=alice");
    let foreign = [("name", "otto"), ("password", PASSWORD), ("next", "//evil.example")];
    let mut other = Browser::new(&console);
    other.get("/login").await;
    assert_eq!(other.post("/login", &foreign).await.leads_to(), "/");
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_look_alike() {
    let console = Console::with_login();
    let mut browser = Browser::new(&console);
    let mut answers = Vec::new();
    for name in ["otto", "nobody", "<b>odd</b>"] {
        let answer = browser.log_in(name, "wrong").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(!answer.body.contains("<b>odd"));
        answers.push(answer.body.contains("The name or the password is wrong."));
    }
    assert_eq!(answers, [true; 3]);
}

#[tokio::test]
async fn every_answer_has_security_headers() {
    let console = Console::local();
    console.look().await;
    let mut browser = Browser::local(&console).await;
    for page in PAGES.iter().chain(&["/nothing/here", "/assets/console.js", "/live/overview"]) {
        let answer = browser.get(page).await;
        let told = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        let policy = told("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{page}");
        assert!(!policy.contains("unsafe"), "{page}");
        assert_eq!(told("x-frame-options"), "DENY", "{page}");
        assert_eq!(told("x-content-type-options"), "nosniff", "{page}");
        assert_eq!(told("referrer-policy"), "same-origin", "{page}");
        // The policy forbids them, so they would not work.
        for inline in ["<script>", " style=", " onclick=", "<style"] {
            assert!(!answer.body.contains(inline), "{page} holds {inline}");
        }
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused() {
    let console = Console::local();
    let mut browser = Browser::new(&console);
    let request = Request::builder().uri("/tokens").header(header::HOST, "rebound.example");
    let answer = browser.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(!answer.body.contains("<"), "{}", answer.body);
}

#[tokio::test]
async fn a_console_without_users_admits_by_printed_address_only() {
    let console = Console::local();
    console.look().await;
    let mut stranger = Browser::new(&console);
    for page in PAGES {
        let answer = stranger.get(page).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{page}");
        assert!(answer.body.contains("Open the address that the console has printed"), "{page}");
    }
    for (action, fields) in ACTIONS {
        assert_eq!(stranger.post(action, fields).await.status, StatusCode::FORBIDDEN, "{action}");
    }
    assert_eq!(stranger.get("/live/overview").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(stranger.get("/?token=guess").await.status, StatusCode::FORBIDDEN);
    assert!(console.audit().await.is_empty());

    let printed = console.web.door.local_tokens().unwrap().borrow().clone();
    let mut me = Browser::local(&console).await;
    let overview = me.get("/").await;
    assert_eq!(overview.status, StatusCode::OK);
    assert!(!overview.body.contains(&printed));
    let old = format!("/?token={printed}");
    assert_eq!(me.get(&old).await.leads_to(), "/", "loaded again");
    assert_eq!(stranger.get(&old).await.status, StatusCode::FORBIDDEN, "it is used up");
}

#[tokio::test]
async fn a_console_without_users_refuses_proxies() {
    let console = Console::local();
    let mut me = Browser::local(&console).await;
    let cookie = format!("evergrant_session={}", me.cookies["evergrant_session"]);
    let request = Request::get("/tokens")
        .header(header::HOST, "127.0.0.1:8480")
        .header(header::COOKIE, cookie)
        .header("x-forwarded-for", "203.0.113.9");
    let answer = me.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("a proxy sent this request"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn a_login_by_printed_address_lasts_until_the_end() {
    let console = Console::local();
    let mut me = Browser::local(&console).await;
    tokio::time::advance(Duration::from_secs(30 * 86_400)).await;
    assert_eq!(me.get("/workers").await.status, StatusCode::OK);
    assert_eq!(me.post("/logout", &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(me.get("/workers").await.status, StatusCode::FORBIDDEN);
}
