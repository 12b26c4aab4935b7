//! The web console in a real browser, on real servers. With `EVERGRANT_SCREENSHOTS`, the
//! documentation's pictures are taken.

mod access_policy;
mod away;
mod every_page;
mod pictures;
mod scenario;

use std::io::Write;
use std::process::Stdio;

use ::mongodb::bson::{Document, doc};
use evergrant_simulator::{FaultRates, SeedPlan};
use evergrant_testkit::browser::TestBrowser;
use evergrant_testkit::deployment::{TestDeployment, eventually};
use evergrant_testkit::program::{self, TestProgram};
use evergrant_testkit::{mongodb, rabbitmq};

/// Users for each reason of failure.
const OF_EACH: u32 = 20;

/// A console that serves.
struct Console {
    program: TestProgram,
    url: String,
}

impl Console {
    /// A console in which otto, an operator, is logged in.
    async fn start(evergrant: &TestDeployment, browser: &TestBrowser) -> Self {
        let users = evergrant.folder.path().join("users");
        let users = users.to_str().expect("a path in UTF-8");
        add_user(evergrant, users, "otto", "operator");
        let console = Self::start_with(evergrant, &["--users-file", users]).await;
        browser.resize(1280, 900).await;
        browser.goto(&console.page("/login")).await;
        log_in(browser, "otto", PASSWORD).await;
        console
    }

    async fn start_with(evergrant: &TestDeployment, args: &[&str]) -> Self {
        let args = [&["console", "--listen", "127.0.0.1:0"], args].concat();
        let program = evergrant.start("evergrant", &args);
        let url = || {
            let said = program.logged();
            let (_, rest) = said.split_once("the console is at ")?;
            rest.split_once('/').and_then(|_| rest.split([',', ';']).next()).map(str::to_owned)
        };
        eventually("the console serves", || async { url().is_some() }).await;
        let url = url().expect("its address").trim_end_matches('/').to_owned();
        Self { program, url }
    }

    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

const PASSWORD: &str = "correct horse battery";

/// As from a script: the password comes from standard input.
fn add_user(evergrant: &TestDeployment, file: &str, name: &str, role: &str) {
    let mut add = std::process::Command::new(program::path("evergrant"))
        .args(["console", "user", "add", name, "--role", role])
        .args(["--password-file", "-", "--users-file", file])
        .envs(evergrant.variables.iter().cloned())
        .stdin(Stdio::piped())
        .spawn()
        .expect("start evergrant");
    writeln!(add.stdin.take().expect("its input"), "{PASSWORD}").expect("give the password");
    assert!(add.wait().expect("wait for evergrant").success());
}

async fn log_in(browser: &TestBrowser, name: &str, password: &str) {
    browser.fill("input[name=name]", name).await;
    browser.fill("input[name=password]", password).await;
    browser.follow("form[action='/login'] button").await;
}

/// Servers whose names appear nowhere else.
async fn deployment() -> TestDeployment {
    deployment_on(&rabbitmq::V4.url().await, &mongodb::url().await).await
}

async fn deployment_on(amqp_url: &str, mongodb_url: &str) -> TestDeployment {
    let behaviour = evergrant_simulator::SimulatorSettings { latency_ms: 20, ..Default::default() };
    let provider =
        evergrant_simulator::SimulatorConfig { settings: behaviour, ..Default::default() };
    let mut evergrant = TestDeployment::new(amqp_url, mongodb_url, provider).await;
    evergrant.set("PROVIDERS__SIMULATOR__MAX_ATTEMPTS", "2");
    // Here an operator redrives signed-in users, before a sweep does.
    evergrant.set("PRODUCER__SWEEP_INTERVAL", "1h");
    evergrant.set("QUEUE__RETRY_LADDER", r#"["3s", "10s"]"#);
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", r#"["200/s"]"#);
    // These tests need many deaths at once.
    evergrant.set("PROVIDERS__SIMULATOR__MASS_DEATH_PERCENT", "100");
    evergrant
}

/// Signs users in and imports their documents; returns their ids.
async fn import(
    evergrant: &TestDeployment,
    plan: SeedPlan,
    change: fn(&mut Vec<String>),
) -> Vec<String> {
    let documents: Vec<_> = evergrant.simulator.seed(plan).expect("a plan").collect();
    let users = documents.iter().map(|document| document.user_id.clone()).collect();
    let mut lines: Vec<String> =
        documents.iter().map(|document| serde_json::to_string(document).expect("JSON")).collect();
    change(&mut lines);
    let path = evergrant.folder.path().join(format!("{}.jsonl", uuid::Uuid::new_v4()));
    std::fs::write(&path, lines.join("\n")).expect("write the documents");
    let path = path.to_str().expect("a path in UTF-8");
    let import = evergrant.evergrant(&["import", path]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    users
}

fn plan(count: u32, prefix: &str) -> SeedPlan {
    SeedPlan { count, prefix: prefix.to_owned(), ..SeedPlan::default() }
}

/// Users who fail for four reasons.
struct FailingUsers {
    revoked: Vec<String>,
    malformed: Vec<String>,
    lost: Vec<String>,
}

impl FailingUsers {
    /// Creates them, one reason after the other, and waits until all are dead letters.
    async fn new(evergrant: &TestDeployment) -> Self {
        let faults = |change: fn(&mut FaultRates)| {
            let set = evergrant.simulator.change(|settings| {
                settings.faults = FaultRates::default();
                change(&mut settings.faults);
            });
            set.expect("possible rates");
        };
        let dead = |count: u32| async move {
            eventually("they are dead letters", || async {
                evergrant.dead_letters().await.len() == count as usize
            })
            .await;
        };
        faults(|faults| faults.http_500 = 1.0);
        import(evergrant, plan(OF_EACH, "unlucky-"), |_| {}).await;
        dead(OF_EACH).await;
        faults(|_| {});

        let malformed = SeedPlan { malformed_share: 1.0, ..plan(OF_EACH, "malformed-") };
        let malformed = import(evergrant, malformed, |_| {}).await;
        dead(2 * OF_EACH).await;

        let revoked = SeedPlan { dead_share: 1.0, ..plan(OF_EACH, "revoked-") };
        let revoked = import(evergrant, revoked, |_| {}).await;
        dead(3 * OF_EACH).await;

        // The answer is lost on the way; the token is sent again, and is dead by then.
        let before = evergrant.simulator.stats().exchanges;
        faults(|faults| faults.reset_after = 1.0);
        let lost = import(evergrant, plan(OF_EACH, "lost-"), |_| {}).await;
        eventually("all answers are lost", || async {
            evergrant.simulator.stats().exchanges >= before + u64::from(OF_EACH)
        })
        .await;
        faults(|_| {});
        dead(4 * OF_EACH).await;
        Self { revoked, malformed, lost }
    }

    /// Corrects the causes: the provider forgives, and the others sign in again.
    async fn cure(&self, evergrant: &TestDeployment) {
        let forgive = evergrant_simulator::ForgiveRequest {
            users: Some(self.revoked.clone()),
            ..Default::default()
        };
        evergrant.simulator.forgive(&forgive);
        for user in self.malformed.iter().chain(&self.lost) {
            let signed_in = evergrant.simulator.sign_in(user);
            let refresh =
                signed_in.refresh_token.and_then(|token| token.as_str().map(str::to_owned));
            let tokens: Document =
                doc! { "access_token": signed_in.access_token, "refresh_token": refresh };
            let update =
                evergrant.collection.update_one(doc! { "userId": user }, doc! { "$set": tokens });
            assert_eq!(update.await.expect("write new tokens").matched_count, 1);
        }
    }
}

/// Checks that the browser reports no error.
async fn is_content(browser: &TestBrowser) {
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "at {}: {complaints:#?}", browser.address().await);
}
