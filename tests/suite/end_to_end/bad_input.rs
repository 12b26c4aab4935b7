//! Bad input leads to a clear error or a dead letter with a reason; nothing crashes or is lost.

use std::collections::BTreeMap;

use ::mongodb::bson::doc;
use evergrant_domain::{DeadReason, DocumentId, Job};
use evergrant_ports::wall_clock;
use evergrant_simulator::{SeedPlan, SimulatorConfig};
use evergrant_testkit::deployment::{TestDeployment, eventually, provider};
use evergrant_testkit::{mongodb, rabbitmq};
use serde_json::{Value, json};

async fn deployment() -> TestDeployment {
    let (amqp_url, mongodb_url) = (rabbitmq::V4.url().await, mongodb::url().await);
    TestDeployment::new(&amqp_url, &mongodb_url, SimulatorConfig::default()).await
}

/// A document with its own grant.
fn signed_in(evergrant: &TestDeployment, user: &str) -> Value {
    serde_json::to_value(evergrant.simulator.sign_in(user)).expect("JSON")
}

fn write(evergrant: &TestDeployment, lines: &[String]) -> String {
    let path = evergrant.folder.path().join("import.jsonl");
    std::fs::write(&path, lines.join("\n")).expect("write");
    path.to_str().expect("UTF-8").to_owned()
}

fn reasons(letters: &[evergrant_domain::DeadLetter]) -> BTreeMap<DeadReason, usize> {
    letters.iter().fold(BTreeMap::new(), |mut counts, letter| {
        *counts.entry(letter.reason).or_default() += 1;
        counts
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_documents_are_reported_and_the_rest_refreshed() {
    let evergrant = deployment().await;
    let oversized = format!("evgsim_rt_{}", "x".repeat(1_000_000));
    let unusable = [
        json!({"_id": 1, "userId": "no-token"}),
        json!({"_id": 2, "userId": "number", "refresh_token": 5}),
        json!({"_id": 3, "userId": "object", "refresh_token": {"evgsim_rt_": "x"}}),
        json!({"_id": 4, "userId": "array", "refresh_token": ["x"]}),
        json!({"_id": 5, "userId": "null", "refresh_token": null}),
        json!({"_id": 6, "userId": "empty", "refresh_token": ""}),
        json!({"_id": 7, "userId": "oversized", "refresh_token": oversized}),
    ];
    let ids = [
        json!("a string"),
        json!(4_000_000_000_u64),
        json!({"$uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8"}),
        json!({"$date": "2026-01-31T12:00:00Z"}),
        json!({"part": "of", "several": 2}),
        json!(true),
    ];
    let usable = ids.iter().enumerate().map(|(number, id)| {
        let mut document = signed_in(&evergrant, &format!("user-{number}"));
        document["_id"] = id.clone();
        document
    });
    // Two documents of one user, each with its own grant.
    let twice = [signed_in(&evergrant, "twice"), signed_in(&evergrant, "twice")];
    let lines: Vec<String> =
        unusable.iter().cloned().chain(usable).chain(twice).map(|doc| doc.to_string()).collect();
    let import = evergrant.evergrant(&["import", &write(&evergrant, &lines)]).await;
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));

    let _programs = evergrant.start_all(2);
    // The one with a list of tokens is not adopted.
    eventually("all are refreshed or reported", || async {
        evergrant.unfinished().await == 1 && evergrant.dead_letters().await.len() == 3
    })
    .await;
    let letters = evergrant.dead_letters().await;
    assert_eq!(reasons(&letters), [(DeadReason::MalformedDocument, 3)].into());
    assert!(letters.iter().all(|letter| letter.description.is_some()));
    assert_eq!(evergrant.count(doc! { "evergrant.status": "no_token" }).await, 3);
    assert_eq!(evergrant.count(doc! { "evergrant.generation": 1 }).await, 8);
    assert_eq!(evergrant.judge().await.lost, 0);

    let show = evergrant.evergrant(&["dlq", "show"]).await;
    let tokens = evergrant.evergrant(&["tokens", "list"]).await;
    evergrant.assert_no_secret_was_written(&[&import, &show, &tokens]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_other_than_jobs_become_dead_letters() {
    let evergrant = deployment().await;
    let _worker = evergrant.start("evergrant-worker", &[]);
    eventually("the queues are there", || async {
        evergrant.queue.depth(&provider()).await.is_ok()
    })
    .await;
    let prefix = evergrant.variable("QUEUE__PREFIX");
    let amqp = rabbitmq::channel(&evergrant.variable("QUEUE__URL")).await;
    let queue = format!("{prefix}.refresh.simulator.0");
    let messages: [&[u8]; 4] = [
        b"evgsim_rt_ is not JSON",
        br#"{"v":99,"provider":"simulator","id":1}"#,
        br#"{"v":1,"provider":"another","id":1,"generation":0,"enqueued_at":"2026-01-31T12:00:00Z"}"#,
        b"",
    ];
    for body in messages {
        rabbitmq::send(&amqp, &queue, body).await;
    }
    let gone = Job::new(provider(), DocumentId::Integer(404), 0, wall_clock());
    evergrant.queue.publish(&[gone]).await.expect("publish");
    eventually("all are dealt with", || async {
        evergrant.dead_letters().await.len() == 4 && evergrant.queued().await == 0
    })
    .await;
    let letters = evergrant.dead_letters().await;
    assert_eq!(reasons(&letters), [(DeadReason::MalformedJob, 4)].into());
    let kept: Vec<&[u8]> = letters.iter().map(|letter| letter.body.as_slice()).collect();
    assert!(messages.iter().all(|body| kept.contains(body)), "a message was altered");
    eventually("they are counted", || async {
        let list = evergrant.evergrant(&["providers", "list", "--json"]).await;
        let providers: Value = serde_json::from_slice(&list.stdout).unwrap_or_default();
        providers[0]["lately"]["dead"]["malformed_job"] == 4
    })
    .await;

    let show = evergrant.evergrant(&["dlq", "show"]).await;
    evergrant.assert_no_secret_was_written(&[&show]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_line_is_named_and_others_are_imported() {
    let evergrant = deployment().await;
    let lines = [
        signed_in(&evergrant, "good").to_string(),
        "{\"_id\": 1, \"refresh_token\": \"evgsim_rt_x\" oops".to_owned(),
        "[\"not an object\"]".to_owned(),
        json!({"userId": "no id"}).to_string(),
        signed_in(&evergrant, "good too").to_string(),
    ];
    let import = evergrant.evergrant(&["import", &write(&evergrant, &lines)]).await;
    assert_eq!(import.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&import.stderr).into_owned();
    for line in ["line 2", "line 3", "line 4"] {
        assert!(errors.contains(line), "{line} is not named: {errors}");
    }
    assert_eq!(evergrant.count(doc! {}).await, 2);
    evergrant.assert_no_secret_was_written(&[&import]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_collection_is_no_error() {
    let evergrant = deployment().await;
    let once = evergrant.run("evergrant-producer", &["--once"]).await;
    let said = String::from_utf8_lossy(&once.stdout).into_owned();
    assert!(once.status.success() && said.starts_with("published 0 jobs"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_does_what_its_modes_say() {
    let evergrant = deployment().await;
    let file = evergrant.seed_file(SeedPlan { count: 20, ..SeedPlan::default() });
    evergrant.evergrant(&["import", &file]).await;
    let said = |mode: &'static [&'static str]| async {
        let output = evergrant.run("evergrant-producer", mode).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let once = "published 20 jobs, simulator: 20; adopted 20 documents";
    assert_eq!(said(&["--once"]).await, once);
    // They are under way: nothing is due, but all can be requested by name.
    assert_eq!(said(&["--once"]).await, "published 0 jobs, simulator: 0");
    assert_eq!(said(&["--all", "--dry-run"]).await, "would publish 20 jobs, simulator: 20");
    assert_eq!(said(&["--all"]).await, "published 20 jobs, simulator: 20");
    let user = evergrant.collection.find_one(doc! {}).await.expect("find").expect("a document");
    let user = user.get_str("userId").expect("a user").to_owned();
    let output = evergrant.run("evergrant-producer", &["--user", &user]).await;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(said, "published 1 jobs, simulator: 1");
    // A queue's count lags behind its messages for a moment.
    eventually("all jobs are in the queue", || async { evergrant.queued().await == 41 }).await;

    // Duplicates cost a lookup each, and never a second exchange.
    let _worker = evergrant.start("evergrant-worker", &[]);
    eventually("all is done", || async {
        evergrant.queued().await == 0 && evergrant.unfinished().await == 0
    })
    .await;
    assert_eq!(evergrant.judge().await.live, 20);
    assert_eq!(evergrant.simulator.stats().exchanges, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporarily_rejected_client_costs_no_grant() {
    let mut evergrant = deployment().await;
    evergrant.set("QUEUE__RETRY_LADDER", r#"["200ms", "1s"]"#);
    evergrant.simulator.change(|settings| settings.faults.invalid_client = 1.0).expect("change");
    let file = evergrant.seed_file(SeedPlan { count: 300, ..SeedPlan::default() });
    evergrant.evergrant(&["import", &file]).await;
    let _programs = evergrant.start_all(2);
    let misconfigured = doc! { "evergrant.last_error.reason": "misconfigured" };
    eventually("the circuit opens", || async { evergrant.count(misconfigured.clone()).await > 0 })
        .await;
    let burned = doc! { "evergrant.attempts": { "$gt": 0 } };
    assert_eq!(evergrant.count(burned).await, 0, "an attempt was burned");
    evergrant.simulator.change(|settings| settings.faults.invalid_client = 0.0).expect("change");
    eventually("a probe opens it again and all are refreshed", || async {
        evergrant.unfinished().await == 0
    })
    .await;
    let report = evergrant.judge().await;
    assert_eq!((report.live, report.double_exchanges), (300, 0), "{report:?}");
    assert!(evergrant.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_or_server_gives_an_actionable_error() {
    let evergrant = deployment().await;
    let amqp_url = evergrant.variable("QUEUE__URL");
    let wrong_password = amqp_url.replace("guest:guest@", "guest:wr0ng-secret@");
    for (setting, value, expected) in [
        ("STORE__URL", "postgres://x", "store.url"),
        ("STORE__URL", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500", "token store"),
        ("QUEUE__URL", "amqp://127.0.0.1:1", "job queue"),
        ("QUEUE__URL", &wrong_password, "job queue refuses"),
        ("QUEUE__SHARDS", "0", "queue.shards"),
        ("PROVIDERS__SIMULATOR__CLIENT_ID", "", "providers.simulator.client_id"),
    ] {
        let mut variables = evergrant.variables.clone();
        variables.push((format!("EVERGRANT_{setting}"), value.to_owned()));
        let args = ["--once"];
        let output = evergrant_testkit::program::run("evergrant-producer", &args, &variables).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{setting}={value}: {error}");
        assert!(error.contains(expected), "{setting}={value}: {error}");
        assert!(!error.contains("wr0ng-secret"), "{error}");
    }
}
