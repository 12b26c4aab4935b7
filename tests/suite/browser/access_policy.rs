//! Logging in, and what a viewer sees.

use evergrant_testkit::browser::TestBrowser;

use super::{Console, PASSWORD, add_user, deployment, is_content, log_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_leads_back_and_viewers_see_no_buttons() {
    let evergrant = deployment().await;
    evergrant.store.prepare().await.expect("prepare the store");
    evergrant.queue.prepare().await.expect("prepare the queues");
    let users = evergrant.folder.path().join("users");
    let users = users.to_str().expect("a path in UTF-8");
    add_user(&evergrant, users, "vera", "viewer");
    add_user(&evergrant, users, "otto", "operator");
    let console = Console::start_with(&evergrant, &["--users-file", users]).await;
    let browser = TestBrowser::start().await;

    browser.goto(&console.page("/providers")).await;
    browser.shows("h1", "Log in").await;
    log_in(&browser, "otto", "wrong password").await;
    browser.shows("[role=alert]", "The name or the password is wrong").await;
    log_in(&browser, "otto", PASSWORD).await;
    assert_eq!(browser.address().await, console.page("/providers"));
    assert!(browser.count("form[action='/providers/act']").await > 0);
    let cookies = browser.script("return document.cookie").await;
    assert_eq!(cookies, "", "scripts cannot read the session");

    browser.follow("form[action='/logout'] button").await;
    browser.shows("h1", "Log in").await;
    log_in(&browser, "vera", PASSWORD).await;
    browser.goto(&console.page("/providers")).await;
    browser.shows(".who", "viewer").await;
    assert_eq!(browser.count("form[action='/providers/act']").await, 0);

    // Removed while logged in.
    let remove = ["console", "user", "remove", "vera", "--users-file", users];
    assert!(evergrant.evergrant(&remove).await.status.success());
    browser.goto(&console.page("/providers")).await;
    browser.shows("h1", "Log in").await;
    is_content(&browser).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_the_console_uses_tls() {
    let mut evergrant = deployment().await;
    evergrant.store.prepare().await.expect("prepare the store");
    evergrant.queue.prepare().await.expect("prepare the queues");
    let folder = evergrant.folder.path().to_owned();
    let file = |name: &str| folder.join(name).to_str().expect("a path in UTF-8").to_owned();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    for (setting, name, content) in [
        ("CONSOLE__TLS_CERTIFICATE", "certificate.pem", made.cert.pem()),
        ("CONSOLE__TLS_KEY", "key.pem", made.signing_key.serialize_pem()),
    ] {
        std::fs::write(file(name), content).expect("write it");
        evergrant.set(setting, &file(name));
    }
    add_user(&evergrant, &file("users"), "otto", "operator");
    let console = Console::start_with(&evergrant, &["--users-file", &file("users")]).await;
    assert!(console.url.starts_with("https://127.0.0.1:"), "{}", console.url);
    let browser = TestBrowser::start().await;
    browser.goto(&console.page("/providers")).await;
    log_in(&browser, "otto", PASSWORD).await;
    assert_eq!(browser.address().await, console.page("/providers"));
    browser.shows(".who", "operator").await;
    is_content(&browser).await;
    browser.close().await;
}
