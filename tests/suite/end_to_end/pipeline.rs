//! One producer and four workers refresh 2,000 users, on both versions of RabbitMQ.

use std::collections::BTreeMap;

use ::mongodb::bson::doc;
use evergrant_simulator::{FaultRates, SeedPlan, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::deployment::{TestDeployment, eventually};
use evergrant_testkit::{mongodb, rabbitmq};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn every_grant_is_refreshed_or_reported_on_rabbitmq_4() {
    refreshes_all_and_redrives(&rabbitmq::V4.url().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_grant_is_refreshed_or_reported_on_rabbitmq_3() {
    refreshes_all_and_redrives(&rabbitmq::V3.url().await).await;
}

fn misbehaving() -> SimulatorConfig {
    let faults = FaultRates { http_503: 0.03, throttle_429: 0.02, ..FaultRates::default() };
    let settings =
        SimulatorSettings { fault_retry_after_s: Some(1), faults, ..SimulatorSettings::default() };
    SimulatorConfig { settings, ..SimulatorConfig::default() }
}

async fn refreshes_all_and_redrives(amqp_url: &str) {
    let evergrant = TestDeployment::new(amqp_url, &mongodb::url().await, misbehaving()).await;
    let plan =
        SeedPlan { count: 2_000, dead_share: 0.05, malformed_share: 0.01, ..SeedPlan::default() };
    let file = evergrant.seed_file(plan);

    let import = evergrant.evergrant(&["import", &file]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    let mut programs = evergrant.start_all(4);
    eventually("all grants are refreshed or reported", || async {
        evergrant.unfinished().await == 0
    })
    .await;
    let (dead, malformed) = reported(&evergrant).await;
    eventually("all dead letters are there", || async {
        evergrant.dead_letters().await.len() as u64 == dead + malformed
    })
    .await;
    eventually("the queues are empty", || async { evergrant.queued().await == 0 }).await;

    let report = evergrant.judge().await;
    assert_eq!((report.lost, report.reused, report.double_exchanges), (0, 0, 0), "{report:?}");
    assert_eq!((report.dead_unreported, report.live_given_up), (0, 0), "{report:?}");
    assert_eq!((report.dead, report.malformed), (dead, malformed), "{report:?}");
    assert_eq!(report.live, 2_000 - dead - malformed);
    assert!(dead > 50 && malformed > 5, "the provider did not misbehave: {report:?}");

    let list = evergrant.evergrant(&["dlq", "list", "--json"]).await;
    let counts = counts_by_reason(&list.stdout);
    let expected = [("grant_dead", dead), ("malformed_document", malformed)];
    assert_eq!(counts, expected.map(|(reason, count)| (reason.to_owned(), count)).into());

    forgiven_users_come_back(&evergrant, dead).await;
    for program in &mut programs {
        let status = program.terminate().await;
        assert!(status.success(), "{status}: {}", program.logged());
    }
    evergrant.assert_no_secret_was_written(&[&import, &list]);
}

/// How many documents report a dead grant, and how many are malformed.
async fn reported(evergrant: &TestDeployment) -> (u64, u64) {
    let dead = doc! { "evergrant.status": "needs_reauth" };
    let malformed =
        doc! { "evergrant.status": "failed", "evergrant.last_error.reason": "malformed" };
    (evergrant.count(dead).await, evergrant.count(malformed).await)
}

fn counts_by_reason(json: &[u8]) -> BTreeMap<String, u64> {
    let groups: Value = serde_json::from_slice(json).expect("JSON");
    let groups = groups.as_array().expect("an array of groups");
    groups
        .iter()
        .map(|group| {
            let reason = group["reason"].as_str().expect("a reason").to_owned();
            (reason, group["count"].as_u64().expect("a count"))
        })
        .collect()
}

/// The provider forgives; a redrive revives the users.
async fn forgiven_users_come_back(evergrant: &TestDeployment, dead: u64) {
    evergrant.simulator.forgive(&evergrant_simulator::ForgiveRequest::default());
    let redrive = ["dlq", "redrive", "--reason", "grant_dead", "--yes", "--why", "forgiven"];
    let dry = evergrant.evergrant(&[redrive.as_slice(), &["--dry-run"]].concat()).await;
    assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
    let needs_reauth = || evergrant.count(doc! { "evergrant.status": "needs_reauth" });
    assert_eq!(needs_reauth().await, dead, "a dry run changed something");

    let real = evergrant.evergrant(&redrive).await;
    assert!(real.status.success(), "{}", String::from_utf8_lossy(&real.stderr));
    eventually("the forgiven users are refreshed", || async {
        needs_reauth().await == 0 && evergrant.unfinished().await == 0
    })
    .await;
    let report = evergrant.judge().await;
    assert_eq!((report.lost, report.dead, report.double_exchanges), (0, 0, 0), "{report:?}");
    let left = evergrant.dead_letters().await;
    assert!(left.iter().all(|letter| letter.reason.as_str() == "malformed_document"));
}
