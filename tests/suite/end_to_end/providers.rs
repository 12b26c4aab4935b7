//! Providers that are throttled, paused, or not believed.

use std::time::Duration;

use ::mongodb::bson::{Document, doc};
use evergrant_domain::provider_state::ProviderStanding;
use evergrant_domain::{ProviderId, Timestamp};
use evergrant_simulator::{ForgiveRequest, SeedPlan, Simulator, SimulatorConfig};
use evergrant_testkit::deployment::{TestDeployment, eventually, provider};
use evergrant_testkit::{mongodb, rabbitmq};
use serde_json::Value;

async fn deployment() -> TestDeployment {
    let (amqp_url, mongodb_url) = (rabbitmq::V4.url().await, mongodb::url().await);
    TestDeployment::new(&amqp_url, &mongodb_url, SimulatorConfig::default()).await
}

async fn imported(evergrant: &TestDeployment, count: u32) {
    let file = evergrant.seed_file(SeedPlan { count, ..SeedPlan::default() });
    let import = evergrant.evergrant(&["import", &file]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
}

async fn standing(
    evergrant: &TestDeployment,
    provider: &ProviderId,
) -> (ProviderStanding, Timestamp) {
    let read = evergrant.store.provider_state(provider).await.expect("the provider's state");
    (read.value.standing(read.now), read.now)
}

/// A command that must succeed, and its JSON.
async fn command(evergrant: &TestDeployment, args: &[&str]) -> Value {
    let output = evergrant.evergrant(&[args, &["--json"]].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Adds a second provider, named by its documents, and returns it.
async fn second_provider(
    evergrant: &mut TestDeployment,
    users: usize,
) -> evergrant_simulator::SimulatorHandle {
    // Another seed makes other tokens.
    let config = SimulatorConfig { seed: 2, ..SimulatorConfig::default() };
    let secret = config.client_secret.clone();
    let simulator = Simulator::bind(config, "127.0.0.1:0").await.expect("start the provider");
    let handle = simulator.handle();
    evergrant.set("STORE__PROVIDER_FIELD", "provider");
    evergrant.set("STORE__DEFAULT_PROVIDER", "simulator");
    evergrant.set("PROVIDERS__OTHER__TOKEN_URL", &format!("{}/token", simulator.url()));
    evergrant.set("PROVIDERS__OTHER__CLIENT_ID", "evergrant");
    evergrant.set("PROVIDERS__OTHER__CLIENT_SECRET", &secret);
    evergrant.set("PROVIDERS__OTHER__LIMITS", "[]");
    tokio::spawn(async move {
        simulator.run(std::future::pending()).await.expect("serve the provider");
    });
    let lines: Vec<String> = (0..users)
        .map(|number| {
            let user = format!("other-{number}");
            let mut document = serde_json::to_value(handle.sign_in(&user)).expect("JSON");
            document["_id"] = user.into();
            document["provider"] = "other".into();
            document.to_string()
        })
        .collect();
    let path = evergrant.folder.path().join("other.jsonl");
    std::fs::write(&path, lines.join("\n")).expect("write");
    let import = evergrant.evergrant(&["import", path.to_str().expect("UTF-8")]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    handle
}

fn refreshed_of(provider: &str) -> Document {
    doc! { "evergrant.provider": provider, "evergrant.generation": { "$gt": 0 } }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttling_provider_slows_no_other() {
    throttles_for(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: tests/run --chaos"]
async fn five_minutes_of_throttling_cost_no_attempt() {
    throttles_for(Duration::from_secs(300)).await;
}

/// One of two providers throttles everything for at least this time.
async fn throttles_for(least: Duration) {
    let mut evergrant = deployment().await;
    imported(&evergrant, 300).await;
    let other = second_provider(&mut evergrant, 40).await;
    let throttle = |settings: &mut evergrant_simulator::SimulatorSettings| {
        settings.faults.throttle_429 = 1.0;
        settings.fault_retry_after_s = Some(6);
    };
    other.change(throttle).expect("change");
    let _programs = evergrant.start_all(2);
    eventually("the other provider is done", || async {
        evergrant.count(refreshed_of("simulator")).await == 300
    })
    .await;
    // The fault itself.
    tokio::time::sleep(least).await;
    assert_eq!(evergrant.count(refreshed_of("other")).await, 0);
    assert_eq!(evergrant.count(doc! { "evergrant.attempts": { "$gt": 0 } }).await, 0);

    // In the middle of a pause, the provider recovers.
    let id: ProviderId = "other".parse().expect("a name");
    let mut until = Timestamp::default();
    eventually("it is paused anew", || async {
        match standing(&evergrant, &id).await {
            (ProviderStanding::Throttled { until }, now) => {
                until.since(now) > Duration::from_secs(4)
            }
            _ => false,
        }
    })
    .await;
    if let (ProviderStanding::Throttled { until: end }, _) = standing(&evergrant, &id).await {
        until = end;
    }
    other.change(|settings| settings.faults.throttle_429 = 0.0).expect("change");
    eventually("it is refreshed again", || async { other.stats().exchanges > 0 }).await;
    let now = evergrant.store.now().await.expect("the time");
    assert!(now.since(until) <= Duration::from_secs(1), "{:?} after the pause", now.since(until));
    eventually("all are refreshed", || async {
        evergrant.count(refreshed_of("other")).await == 40
    })
    .await;
    assert_eq!(evergrant.count(doc! { "evergrant.attempts": { "$gt": 0 } }).await, 0);
    assert!(evergrant.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_pauses_limits_and_resumes_a_provider() {
    let mut evergrant = deployment().await;
    // A slot that a busy machine misses is repeated within the test's timeout.
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", r#"["1/min"]"#);
    imported(&evergrant, 200).await;
    let paused = command(&evergrant, &["providers", "pause", "simulator", "--why", "a test"]).await;
    assert_eq!((&paused[0]["state"], &paused[0]["why"]), (&"paused".into(), &"a test".into()));
    let _programs = evergrant.start_all(2);
    eventually("jobs are there", || async {
        evergrant.count(doc! { "evergrant.queued_until": { "$exists": true } }).await == 200
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(evergrant.simulator.stats().requests, 0, "sent in a pause");

    let resumed = command(&evergrant, &["providers", "resume", "simulator"]).await;
    assert_eq!(resumed[0]["state"], "open");
    eventually("the limit lets one through", || async {
        evergrant.simulator.stats().requests == 1
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(evergrant.simulator.stats().requests, 1, "more than the limit");
    command(&evergrant, &["providers", "limit", "simulator", "100/s,5000/min"]).await;
    eventually("the new limit holds", || async { evergrant.simulator.stats().requests > 10 }).await;
    eventually("all are refreshed", || async { evergrant.unfinished().await == 0 }).await;
    assert!(evergrant.simulator.stats().max_in_1s <= 100);
    let reset = command(&evergrant, &["providers", "limit", "simulator", "--reset"]).await;
    assert_eq!(reset[0]["limits"], serde_json::json!(["1/min"]));
    for (args, code) in [
        (["providers", "pause", "nobody"].as_slice(), 2),
        (&["providers", "limit", "simulator", "10/s,1000/min"], 2),
        (&["providers", "limit", "simulator", "0/s"], 2),
        (&["providers", "list"], 0),
    ] {
        assert_eq!(evergrant.evergrant(args).await.status.code(), Some(code), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_death_costs_no_grant_unless_confirmed() {
    let mut evergrant = deployment().await;
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", r#"["100/s"]"#);
    evergrant.set("PROVIDERS__SIMULATOR__MASS_DEATH_PERCENT", "20");
    imported(&evergrant, 300).await;
    let users = users(&evergrant).await;
    evergrant.simulator.revoke(&users);
    let _programs = evergrant.start_all(3);
    let dead = || evergrant.count(doc! { "evergrant.status": "needs_reauth" });
    eventually("the circuit opens", || async {
        matches!(standing(&evergrant, &provider()).await.0, ProviderStanding::Tripped { .. })
    })
    .await;
    eventually("the first deaths are taken back", || async { dead().await == 0 }).await;
    assert!(evergrant.simulator.stats().requests < 200, "the circuit did not hold");
    // It was the provider's fault: a probe succeeds, and all are refreshed.
    evergrant.simulator.forgive(&ForgiveRequest::default());
    eventually("all are refreshed", || async {
        evergrant.count(doc! { "evergrant.generation": { "$gt": 0 } }).await == 300
    })
    .await;
    assert_eq!((dead().await, evergrant.judge().await.lost), (0, 0));

    // This time they really died, and the operator knows.
    evergrant.simulator.revoke(&users);
    let all = evergrant.run("evergrant-producer", &["--all"]).await;
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
    eventually("the circuit opens", || async {
        matches!(standing(&evergrant, &provider()).await.0, ProviderStanding::Tripped { .. })
    })
    .await;
    command(&evergrant, &["providers", "confirm", "simulator"]).await;
    // Unconfirmed deaths would be asked again in ten minutes.
    let all = evergrant.run("evergrant-producer", &["--all"]).await;
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
    eventually("they are dead", || async { dead().await == 300 }).await;
}

async fn users(evergrant: &TestDeployment) -> Vec<String> {
    use futures::TryStreamExt;
    let documents = evergrant.collection.find(doc! {}).await.expect("find");
    let documents: Vec<Document> = documents.try_collect().await.expect("read");
    let user = |document: &Document| document.get_str("userId").expect("a user").to_owned();
    documents.iter().map(user).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_share_one_limit() {
    let mut evergrant = deployment().await;
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", r#"["100/s"]"#);
    imported(&evergrant, 1_500).await;
    let _programs = evergrant.start_all(4);
    // Some 15 s on an idle machine; a benchmark measures that.
    eventually("all are refreshed", || async { evergrant.simulator.stats().exchanges == 1_500 })
        .await;
    let stats = evergrant.simulator.stats();
    assert_eq!((stats.requests, stats.answers.throttled), (1_500, 0));
    assert!(stats.max_in_1s <= 100, "{} in a second", stats.max_in_1s);
}
