//! Every page and every action, on desktop and phone, in light and dark, and by keyboard.

use ::mongodb::bson::doc;
use evergrant_testkit::browser::TestBrowser;
use evergrant_testkit::deployment::{TestDeployment, eventually};

use super::pictures::{a_day_before, picture};
use super::{Console, deployment, import, is_content, plan};

const PAGES: [&str; 6] = ["/", "/dead-letters", "/tokens", "/providers", "/workers", "/audit"];

async fn status_is(evergrant: &TestDeployment, user: &str, status: Option<&str>) {
    eventually("the document says so", || async {
        let filter = doc! { "userId": user, "evergrant.status": status };
        evergrant.count(filter).await == 1
    })
    .await;
}

/// No page is wider than the window.
async fn fits(browser: &TestBrowser, page: &str) {
    let script = "return document.documentElement.scrollWidth - window.innerWidth";
    let over = browser.script(script).await.as_i64().expect("a number");
    assert!(over <= 0, "{page} is {over} pixels wider than the window");
}

/// Accessibility: names of fields, and one first-level heading.
async fn is_named(browser: &TestBrowser, page: &str) {
    let script =
        "return [...document.querySelectorAll('main input:not([type=hidden]), main select')]
        .filter(f => !f.labels?.length && !f.getAttribute('aria-label')).map(f => f.outerHTML)";
    let nameless = browser.script(script).await;
    assert_eq!(nameless, serde_json::json!([]), "fields without a name on {page}");
    assert_eq!(browser.count("h1").await, 1, "{page}");
    let nameless = "return [...document.querySelectorAll('button, a')]
        .filter(b => !b.textContent.trim() && !b.getAttribute('aria-label')).length";
    assert_eq!(browser.script(nameless).await, 0, "buttons without words on {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_action_works_on_desktop_and_phone() {
    let evergrant = deployment().await;
    a_day_before(&evergrant).await;
    let _programs = evergrant.start_all(1);
    let users = import(&evergrant, plan(120, "user-"), |_| {}).await;
    eventually("all are refreshed", || async { evergrant.is_finished().await }).await;
    let browser = TestBrowser::start().await;
    let console = Console::start(&evergrant, &browser).await;

    every_page(&browser, &console).await;
    a_grant(&browser, &console, &evergrant, &users[0]).await;
    a_provider(&browser, &console, &evergrant).await;
    by_keyboard(&browser, &console).await;
    what_is_not_there(&browser, &console).await;
    browser.close().await;
}

async fn every_page(browser: &TestBrowser, console: &Console) {
    for (scheme, width, height) in
        [("light", 1280, 900), ("dark", 1280, 900), ("light", 390, 844), ("dark", 390, 844)]
    {
        browser.prefer(scheme).await;
        browser.resize(width, height).await;
        for page in PAGES {
            browser.goto(&console.page(page)).await;
            assert!(browser.title().await.ends_with("Evergrant"), "{page}");
            fits(browser, page).await;
            is_named(browser, page).await;
            is_content(browser).await;
            match (page, scheme, width) {
                ("/", "dark", 1280) => picture(browser, "overview-dark").await,
                ("/", "dark", 390) => picture(browser, "phone").await,
                _ => {}
            }
        }
    }
    browser.prefer("light").await;
    browser.resize(1280, 900).await;
    // The toggle overrides the system's setting.
    browser.goto(&console.page("/workers")).await;
    let ground = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.script(ground).await;
    browser.follow("form[action='/theme'] button").await;
    assert_ne!(browser.script(ground).await, light);
    browser.follow("form[action='/theme'] button").await;
    assert_eq!(browser.script(ground).await, light);
}

async fn a_grant(browser: &TestBrowser, console: &Console, evergrant: &TestDeployment, user: &str) {
    browser.goto(&console.page("/tokens")).await;
    assert_eq!(browser.count("tbody tr").await, 50);
    browser.follow(".pages a").await;
    assert_eq!(browser.count("tbody tr").await, 50);
    browser.fill("input[name=user]", user).await;
    browser.follow("form.filter button").await;
    assert_eq!(browser.count("tbody tr").await, 1);
    browser.follow("tbody th a").await;
    browser.shows("main", "Refresh token dies").await;
    picture(browser, "token").await;

    let act = |what: &str| format!("button[value={what}]");
    browser.fill("form.fields input[name=why]", "a question of support").await;
    browser.follow(&act("pause")).await;
    browser.shows(".note.done", "Paused").await;
    status_is(evergrant, user, Some("paused")).await;
    browser.follow(&act("resume")).await;
    status_is(evergrant, user, Some("active")).await;
    browser.follow(&act("refresh")).await;
    browser.shows(".note.done", "Queued").await;
    eventually("it is refreshed again", || async {
        let twice = doc! { "userId": user, "evergrant.generation": { "$gte": 2 } };
        evergrant.count(twice).await == 1
    })
    .await;
    browser.shows("ol.line", "a question of support").await;
    browser.click("details.act summary").await;
    browser.fill("details.act input[name=why]", "they have left").await;
    browser.follow(&act("forget")).await;
    browser.shows(".note.done", "Forgotten").await;
    is_content(browser).await;
}

async fn a_provider(browser: &TestBrowser, console: &Console, evergrant: &TestDeployment) {
    browser.goto(&console.page("/providers")).await;
    browser.click("details.act summary").await;
    browser.fill("input[name=for]", "2h").await;
    browser.fill("details[open] input[name=why]", "their maintenance").await;
    browser.follow("button[value=pause]").await;
    browser.shows("section h2", "paused").await;
    browser.shows("main", "their maintenance").await;
    picture(browser, "providers").await;
    let list = evergrant.evergrant(&["providers", "list"]).await;
    assert!(String::from_utf8_lossy(&list.stdout).contains("their maintenance"));
    browser.follow("button[value=resume]").await;
    browser.shows("section h2", "open").await;
    browser.click("details.act:last-of-type summary").await;
    browser.fill("input[name=limits]", "50/s, 1000/min").await;
    browser.follow("button[value=limit]").await;
    browser.shows("main", "set by an operator").await;
    browser.click("details.act:last-of-type summary").await;
    browser.follow("button[value=limit-reset]").await;
    browser.shows("main", "set by the settings").await;
    is_content(browser).await;
}

async fn by_keyboard(browser: &TestBrowser, console: &Console) {
    browser.goto(&console.page("/")).await;
    for (key, page) in [("t", "/tokens"), ("a", "/audit"), ("d", "/dead-letters")] {
        browser.press("g").await;
        browser.press(key).await;
        eventually("the keys lead there", || async {
            browser.address().await == console.page(page)
        })
        .await;
    }
    // The first tab leads to the content.
    browser.press("\u{e004}").await;
    let at = browser.script("return document.activeElement.textContent").await;
    assert_eq!(at, "Skip to the content");
    browser.goto(&console.page("/tokens")).await;
    browser.press("/").await;
    assert_eq!(browser.script("return document.activeElement.name").await, "user");
    is_content(browser).await;
}

async fn what_is_not_there(browser: &TestBrowser, console: &Console) {
    browser.goto(&console.page("/tokens/show?id=nobody")).await;
    browser.shows("h1", "There is no such page").await;
    browser.shows("main", "nobody").await;
    browser.follow("main .actions a").await;
    browser.shows("h1", "Tokens").await;
    browser.goto(&console.page("/dead-letters?reason=grant_dead")).await;
    browser.shows("main", "No dead letter matches").await;
    is_content(browser).await;
}
