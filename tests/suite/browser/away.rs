//! Without a server, pages and commands name it and show the rest.

use evergrant_simulator::SeedPlan;
use evergrant_testkit::browser::TestBrowser;
use evergrant_testkit::dedicated::DedicatedServer;
use evergrant_testkit::deployment::{TestDeployment, eventually};

use super::{Console, deployment_on, import, is_content, plan};

const BROKER_AWAY: &str = "The broker has not answered since";
const STORE_AWAY: &str = "The token store has not answered since";
const LETTERS: u32 = 20;

/// The overview says so without a reload.
async fn says(browser: &TestBrowser, words: &str) {
    browser.shows("[role=alert]", words).await;
}

async fn is_well_again(browser: &TestBrowser) {
    eventually("nothing is said to be away", || async { browser.count("[role=alert]").await == 0 })
        .await;
}

/// A command fails, and names the server.
async fn fails(evergrant: &TestDeployment, args: &[&str], words: &str) {
    let output = evergrant.evergrant(args).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(said.contains(words), "{args:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_server_is_named_and_the_rest_shown() {
    let broker = DedicatedServer::broker("EVERGRANT_TEST_RABBITMQ_4_IMAGE").await;
    let database = DedicatedServer::database().await;
    let evergrant = deployment_on(&broker.url(), &database.url()).await;
    let _programs = evergrant.start_all(1);
    let malformed = SeedPlan { malformed_share: 1.0, ..plan(LETTERS, "malformed-") };
    import(&evergrant, malformed, |_| {}).await;
    eventually("their documents have ended", || async { evergrant.unfinished().await == 0 }).await;
    eventually("they are dead letters", || async {
        evergrant.dead_letters().await.len() == LETTERS as usize
    })
    .await;
    let browser = TestBrowser::start().await;
    let console = Console::start(&evergrant, &browser).await;
    browser.goto(&console.page("/dead-letters")).await;
    browser.shows(".pages", "1 to 20 of 20").await;
    browser.goto(&console.page("/")).await;
    browser.shows("[data-figure=dead]", "20").await;

    broker.kill().await;
    says(&browser, BROKER_AWAY).await;
    browser.shows("[data-figure=dead]", "20").await;
    browser.goto(&console.page("/tokens")).await;
    says(&browser, BROKER_AWAY).await;
    assert_eq!(browser.count("tbody tr").await, LETTERS as usize);
    browser.goto(&console.page("/dead-letters")).await;
    browser.shows(".pages", "1 to 20 of 20").await;
    fails(&evergrant, &["dlq", "list"], "the job queue is not available").await;
    browser.goto(&console.page("/")).await;
    broker.start().await;
    is_well_again(&browser).await;

    database.kill().await;
    says(&browser, STORE_AWAY).await;
    browser.shows("[data-figure=dead]", "20").await;
    browser.goto(&console.page("/dead-letters?reason=malformed_document")).await;
    browser.shows(".pages", "1 to 20 of 20").await;
    browser.goto(&console.page("/providers")).await;
    browser.shows("section h2", "simulator").await;
    browser.goto(&console.page("/tokens")).await;
    browser.shows("main", "token store").await;
    fails(&evergrant, &["tokens", "list"], "the token store is not available").await;
    browser.goto(&console.page("/")).await;
    database.start().await;
    is_well_again(&browser).await;
    is_content(&browser).await;
    browser.close().await;
}
