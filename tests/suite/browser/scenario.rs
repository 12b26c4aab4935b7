//! An operator's scenario: which users lose access, why, and what to do.

use std::time::Duration;

use evergrant_testkit::browser::TestBrowser;
use evergrant_testkit::deployment::{TestDeployment, eventually};

use super::pictures::{a_day_before, picture};
use super::{Console, FailingUsers, OF_EACH, deployment, import, is_content, plan};

const USERS: u32 = 1_000;
/// Redriven a second.
const RPS: u32 = 20;
/// Slow enough for a browser on a busy machine to see it.
const SLOW_RPS: u32 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_restores_eighty_users_with_four_problems() {
    let evergrant = deployment().await;
    a_day_before(&evergrant).await;
    let mut programs = evergrant.start_all(2);
    let failing_count = 4 * OF_EACH;
    import(&evergrant, plan(USERS - failing_count, "user-"), |_| {}).await;
    eventually("the others are refreshed", || async { evergrant.is_finished().await }).await;
    let failing = FailingUsers::new(&evergrant).await;
    let browser = TestBrowser::start().await;
    let mut console = Console::start(&evergrant, &browser).await;

    who_loses_access_and_why(&browser, &console).await;
    failing.cure(&evergrant).await;
    let rest = all_are_sent_back(&evergrant, &browser, &console).await;
    eventually("all users are refreshed", || async {
        let report = evergrant.judge().await;
        report.live == u64::from(USERS) && evergrant.dead_letters().await.is_empty()
    })
    .await;
    it_can_be_seen_who_did_it(&browser, &console, rest).await;
    browser.close().await;
    assert!(console.program.terminate().await.success(), "{}", console.program.logged());
    for program in &mut programs {
        assert!(program.terminate().await.success());
    }
    evergrant.assert_no_secret_was_written(&[]);
}

/// Which users are losing access, and why?
async fn who_loses_access_and_why(browser: &TestBrowser, console: &Console) {
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

/// The cause is corrected; a few are redriven and, after they are refreshed, all others. Returns
/// their number.
async fn all_are_sent_back(
    evergrant: &TestDeployment,
    browser: &TestBrowser,
    console: &Console,
) -> u32 {
    redrive_all(evergrant, browser, console, "to see whether it is well", SLOW_RPS).await;
    // Without a click: the page updates itself.
    browser.find(".is-live").await;
    eventually("some are sent back", || async { browser_sees_done(browser).await >= 3.0 }).await;
    picture(browser, "bulk").await;
    is_content(browser).await;
    browser.follow("form[action='/dead-letters/cancel'] button").await;
    browser.shows("h2", "cancelled").await;

    let began = tokio::time::Instant::now();
    let left = redrive_all(evergrant, browser, console, "the provider is well again", RPS).await;
    // It reports its end without a reload.
    browser.shows("h2", "done").await;
    browser.shows("main", &format!("{left} of {left}")).await;
    let took = began.elapsed();
    let least = Duration::from_secs(u64::from(left / RPS) - 1);
    assert!(took >= least, "faster than {RPS} a second: {took:?}");
    is_content(browser).await;
    left
}

/// Redrives all dead letters at this rate; returns their number.
async fn redrive_all(
    evergrant: &TestDeployment,
    browser: &TestBrowser,
    console: &Console,
    why: &str,
    rps: u32,
) -> u32 {
    let count = evergrant.dead_letters().await.len();
    let button = "button[value=redrive-all]";
    eventually("the page has seen what there is", || async {
        browser.goto(&console.page("/dead-letters")).await;
        browser.text(button).await.contains(&format!("Redrive all {count}…"))
    })
    .await;
    browser.follow(button).await;
    browser.shows("h1", &format!("Redrive {count} dead letters?")).await;
    assert_eq!(evergrant.dead_letters().await.len(), count, "to look does nothing");
    browser.fill("input[name=why]", why).await;
    browser.fill("input[name=rps]", &rps.to_string()).await;
    picture(browser, "confirm").await;
    browser.follow("form[action='/dead-letters/act'] button").await;
    browser.shows("main", "Redrive").await;
    u32::try_from(count).expect("a small number")
}

/// The progress of a running action, on its page.
async fn browser_sees_done(browser: &TestBrowser) -> f64 {
    let script = "return document.querySelector('progress')?.value ?? 0";
    browser.script(script).await.as_f64().expect("a number")
}

async fn it_can_be_seen_who_did_it(browser: &TestBrowser, console: &Console, rest: u32) {
    browser.goto(&console.page("/")).await;
    browser.shows("[data-figure=active]", "1\u{202f}000").await;
    browser.shows("[data-figure=dead]", "0").await;
    browser.follow(".nav a[data-key=a]").await;
    browser.shows("tbody", "the provider is well again").await;
    browser.shows("tbody", "otto").await;
    browser.shows("tbody", &format!("{rest} of {rest}")).await;
    is_content(browser).await;
    let source = browser.source().await;
    assert!(!source.contains("evgsim_"), "a token is in the page");
}
