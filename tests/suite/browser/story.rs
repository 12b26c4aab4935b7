//! An operator's story: who is losing access, why, and what to do.

use std::time::Duration;

use evergrant_tests::browser::Browser;
use evergrant_tests::deployment::{Deployment, eventually};

use super::pictures::{a_day_before, picture};
use super::{Console, Failing, OF_EACH, deployment, import, is_content, plan};

const USERS: u32 = 1_000;
/// Redriven a second.
const RPS: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn eighty_of_a_thousand_users_fail_for_four_reasons_and_are_brought_back() {
    let evergrant = deployment().await;
    a_day_before(&evergrant).await;
    let mut programs = evergrant.start_all(2);
    let failing_count = 4 * OF_EACH;
    import(&evergrant, plan(USERS - failing_count, "user-"), |_| {}).await;
    eventually("the others are refreshed", || async { evergrant.is_finished().await }).await;
    let failing = Failing::new(&evergrant).await;
    let browser = Browser::start().await;
    let mut console = Console::start(&evergrant, &browser).await;

    who_loses_access_and_why(&browser, &console).await;
    failing.cure(&evergrant).await;
    all_are_sent_back(&evergrant, &browser, &console).await;
    eventually("all users are refreshed", || async {
        let report = evergrant.judge().await;
        report.live == u64::from(USERS) && evergrant.dead_letters().await.is_empty()
    })
    .await;
    it_can_be_seen_who_did_it(&browser, &console).await;
    browser.close().await;
    assert!(console.program.terminate().await.success(), "{}", console.program.logged());
    for program in &mut programs {
        assert!(program.terminate().await.success());
    }
    evergrant.assert_no_secret_was_written(&[]);
}

/// Which users are losing access, and why?
async fn who_loses_access_and_why(browser: &Browser, console: &Console) {
    browser.goto(&console.page("/")).await;
    browser.shows("[data-figure=dead]", "80").await;
    browser.shows("[data-figure=active]", "920").await;
    browser.shows("main", "Least slack").await;
    picture(browser, "overview").await;
    is_content(browser).await;

    browser.follow(".nav a[data-key=d]").await;
    for reason in ["attempts_exhausted", "grant_dead", "lost_response", "malformed_document"] {
        let row = format!("a[href$='provider=simulator&reason={reason}#letters']");
        browser.find(&row).await;
    }
    picture(browser, "dead-letters").await;
    browser.follow("a[href$='reason=attempts_exhausted#letters']").await;
    browser.shows("button[value=redrive-all]", "Redrive all 20 that match").await;
    browser.follow("tbody th a[href*='/dead-letters/show']").await;
    browser.shows("main", "HTTP status").await;
    browser.shows("main", "500").await;
    browser.shows("main", "unlucky-").await;
    picture(browser, "dead-letter").await;
    is_content(browser).await;
}

/// What to do? The cause is cured, and all of them are sent back.
async fn all_are_sent_back(evergrant: &Deployment, browser: &Browser, console: &Console) {
    browser.goto(&console.page("/dead-letters")).await;
    browser.follow("button[value=redrive-all]").await;
    browser.shows("h1", "Redrive 80 dead letters?").await;
    assert_eq!(evergrant.dead_letters().await.len(), 80, "to look does nothing");
    browser.fill("input[name=why]", "the provider is well again").await;
    browser.fill("input[name=rps]", &RPS.to_string()).await;
    picture(browser, "confirm").await;
    let began = tokio::time::Instant::now();
    browser.follow("form[action='/dead-letters/act'] button").await;

    // Watched without a click: the page goes on by itself, and says when it is done.
    browser.shows("main", "Redrive").await;
    browser.find(".is-live").await;
    eventually("some are sent back", || async {
        let done = browser.script("return document.querySelector('progress')?.value ?? 0").await;
        done.as_f64().is_some_and(|done| done >= 20.0)
    })
    .await;
    picture(browser, "bulk").await;
    browser.shows("h2", "done").await;
    browser.shows("main", "80 of 80").await;
    let took = began.elapsed();
    let least = Duration::from_secs(u64::from(4 * OF_EACH / RPS) - 1);
    assert!(took >= least, "faster than {RPS} a second: {took:?}");
    is_content(browser).await;
}

async fn it_can_be_seen_who_did_it(browser: &Browser, console: &Console) {
    browser.goto(&console.page("/")).await;
    browser.shows("[data-figure=active]", "1\u{202f}000").await;
    browser.shows("[data-figure=dead]", "0").await;
    browser.follow(".nav a[data-key=a]").await;
    browser.shows("tbody", "the provider is well again").await;
    browser.shows("tbody", "otto").await;
    browser.shows("tbody", "80 of 80").await;
    is_content(browser).await;
    let source = browser.source().await;
    assert!(!source.contains("evgsim_"), "a token is in the page");
}
