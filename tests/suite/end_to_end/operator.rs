//! An operator's incident in the terminal: which users lose access, why, and what to do.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::{Duration, Instant};

use ::mongodb::bson::doc;
use evergrant_simulator::{FaultRates, ForgiveRequest, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::deployment::{TestDeployment, eventually};
use evergrant_testkit::{mongodb, rabbitmq};
use serde_json::{Value, json};

const USERS: usize = 1_000;
/// Users for each kind of problem.
const EACH: usize = 20;

fn said(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}: {out}{err}", output.status)
}

/// The users, and those with a problem.
struct Night {
    evergrant: TestDeployment,
    documents: Vec<Value>,
}

impl Night {
    async fn begin() -> Self {
        let config = SimulatorConfig {
            settings: SimulatorSettings { kill_on_reuse: false, ..SimulatorSettings::default() },
            ..SimulatorConfig::default()
        };
        let (amqp_url, mongodb_url) = (rabbitmq::V4.url().await, mongodb::url().await);
        let mut evergrant = TestDeployment::new(&amqp_url, &mongodb_url, config).await;
        evergrant.set("QUEUE__RETRY_LADDER", r#"["1s"]"#);
        evergrant.set("PROVIDERS__SIMULATOR__MAX_ATTEMPTS", "3");
        // Here an operator redrives signed-in users, before a sweep does.
        evergrant.set("PRODUCER__SWEEP_INTERVAL", "1h");
        // Most users of these small groups really die at once.
        evergrant.set("PROVIDERS__SIMULATOR__MASS_DEATH_MIN", "100");
        let documents = (0..USERS)
            .map(|number| {
                let user = format!("user-{number:04}");
                let mut document =
                    serde_json::to_value(evergrant.simulator.sign_in(&user)).expect("JSON");
                document["_id"] = user.into();
                document
            })
            .collect();
        Self { evergrant, documents }
    }

    fn group(&self, group: usize) -> &[Value] {
        &self.documents[group * EACH..(group + 1) * EACH]
    }

    async fn import(&self, documents: &[Value]) {
        let lines: Vec<String> = documents.iter().map(Value::to_string).collect();
        let path = self.evergrant.folder.path().join("tokens.jsonl");
        std::fs::write(&path, lines.join("\n")).expect("write the documents");
        let import = self.run(&["import", path.to_str().expect("UTF-8")]).await;
        assert!(import.status.success(), "{}", said(&import));
    }

    fn provider(&self, faults: FaultRates) {
        self.evergrant
            .simulator
            .change(|settings| settings.faults = faults)
            .expect("sound settings");
    }

    async fn all_are(&self, what: &str, filter: ::mongodb::bson::Document, count: usize) {
        eventually(what, || async { self.evergrant.count(filter.clone()).await == count as u64 })
            .await;
    }

    /// The operator's last action in the audit record.
    async fn last_action(&self) -> Value {
        let record = self.run(&["audit", "--limit", "1", "--output", "json"]).await;
        let entries: Value = serde_json::from_slice(&record.stdout).unwrap_or_default();
        entries[0].clone()
    }

    async fn run(&self, args: &[&str]) -> Output {
        self.evergrant.evergrant(args).await
    }

    async fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--output", "json"]].concat()).await;
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    }

    /// 80 of 1,000 users lose access, for four reasons.
    async fn goes_wrong(&self) {
        // The provider answers nobody.
        self.provider(FaultRates { http_503: 1.0, ..FaultRates::default() });
        self.import(self.group(0)).await;
        self.all_are("attempts run out", doc! { "evergrant.status": "failed" }, EACH).await;
        // It rotates tokens, and the answers are lost.
        self.provider(FaultRates { reset_after: 1.0, ..FaultRates::default() });
        self.import(self.group(1)).await;
        let in_doubt = doc! { "evergrant.in_doubt": { "$exists": true } };
        self.all_are("answers are lost", in_doubt, EACH).await;
        self.provider(FaultRates::default());
        let reauth = doc! { "evergrant.status": "needs_reauth" };
        self.all_are("they are found dead", reauth.clone(), EACH).await;
        // It revokes some, and the application breaks some documents.
        let users: Vec<_> =
            self.group(2).iter().filter_map(|user| user["userId"].as_str()).collect();
        self.evergrant.simulator.revoke(&users);
        self.import(self.group(2)).await;
        let mut broken = self.group(3).to_vec();
        broken.iter_mut().for_each(|document| document["refresh_token"] = json!(5));
        self.import(&broken).await;
        self.import(&self.documents[4 * EACH..]).await;
        self.all_are("the revoked are found dead", reauth, 2 * EACH).await;
        eventually("the others are refreshed", || async { self.evergrant.unfinished().await == 0 })
            .await;
        eventually("all dead letters are there", || async {
            self.evergrant.dead_letters().await.len() == 4 * EACH
        })
        .await;
    }

    /// The causes are corrected: at the provider, by the users, in the documents.
    async fn is_cured(&self) {
        self.evergrant.simulator.forgive(&ForgiveRequest::default());
        for user in self.group(1) {
            let id = user["_id"].as_str().expect("an id");
            let signed_in =
                serde_json::to_value(self.evergrant.simulator.sign_in(id)).expect("JSON");
            let token = signed_in["refresh_token"].as_str().expect("a token");
            let new = doc! { "$set": { "refresh_token": token } };
            self.evergrant.collection.update_one(doc! { "_id": id }, new).await.expect("sign in");
        }
        self.import(self.group(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_and_restores_eighty_users() {
    let night = Night::begin().await;
    let mut programs = night.evergrant.start_all(2);
    night.goes_wrong().await;

    groups_are_counted(&night).await;
    one_is_looked_at(&night).await;
    processes_and_providers_are_seen(&night).await;
    night.is_cured().await;
    a_redrive_at_a_paused_provider_is_queued_with_notice(&night).await;
    careless_commands_are_refused(&night).await;
    let redriven = the_other_letters_are_redriven_at_twenty_a_second(&night).await;

    eventually("all are recovered", || async {
        let recovered = doc! {
            "evergrant.status": "active", "evergrant.generation": { "$gte": 1 },
        };
        night.evergrant.count(recovered).await == USERS as u64
            && night.evergrant.dead_letters().await.is_empty()
    })
    .await;
    let report = night.evergrant.judge().await;
    assert_eq!((report.live, report.lost, report.malformed), (USERS as u64, 0, 0), "{report:?}");
    let nothing = night.run(&["dlq", "list"]).await;
    assert_eq!(nothing.status.code(), Some(4), "{}", said(&nothing));
    the_record_tells_it(&night, &redriven).await;

    for program in &mut programs {
        assert!(program.terminate().await.success(), "{}", program.logged());
    }
    let workers = night.run(&["workers"]).await;
    assert_eq!(workers.status.code(), Some(4), "{}", said(&workers));
    night.evergrant.assert_no_secret_was_written(&[&nothing, &workers]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redrive_is_reported_and_resumed() {
    let night = Night::begin().await;
    let _programs = night.evergrant.start_all(1);
    night.provider(FaultRates { http_503: 1.0, ..FaultRates::default() });
    night.import(night.group(0)).await;
    eventually("their documents have ended", || async { night.evergrant.unfinished().await == 0 })
        .await;
    eventually("they are dead letters", || async {
        night.evergrant.dead_letters().await.len() == EACH
    })
    .await;
    night.provider(FaultRates::default());

    let redrive = ["dlq", "redrive", "--all", "--rps", "3", "--yes", "--why", "it is cured"];
    let mut redrive = night.evergrant.start("evergrant", &redrive);
    eventually("some are sent back", || async {
        night.last_action().await["progress"]["done"].as_u64().is_some_and(|done| done >= 2)
    })
    .await;
    redrive.kill().await;
    let killed = night.last_action().await;
    eventually("the record says that it died", || async {
        night.last_action().await["outcome"] == "died"
    })
    .await;
    let left = night.evergrant.dead_letters().await.len();
    assert!((1..EACH).contains(&left), "{left} are left");

    let id = killed["id"].as_str().expect("an id");
    let resumed = night.json(&["dlq", "resume", id, "--yes"]).await;
    assert_eq!((&resumed["outcome"], &resumed["done"]), (&json!("done"), &json!(left)));
    let recovered = doc! { "evergrant.status": "active", "evergrant.generation": { "$gte": 1 } };
    night.all_are("all are recovered", recovered, EACH).await;
    assert!(night.evergrant.dead_letters().await.is_empty());
    let again = night.run(&["dlq", "resume", id, "--yes"]).await;
    assert!(!again.status.success(), "{}", said(&again));
}

async fn groups_are_counted(night: &Night) {
    let groups = night.json(&["dlq", "list"]).await;
    let groups = groups.as_array().expect("groups");
    let counts: BTreeMap<_, _> =
        groups.iter().map(|group| (group["reason"].as_str(), group["count"].as_u64())).collect();
    let reasons = ["attempts_exhausted", "grant_dead", "lost_response", "malformed_document"];
    assert_eq!(counts, reasons.map(|reason| (Some(reason), Some(EACH as u64))).into());
    let counted = night.json(&["tokens", "count"]).await;
    let active = json!({ "provider": "simulator", "status": "active", "count": USERS - 4 * EACH });
    assert!(counted.as_array().expect("counts").contains(&active), "{counted}");
}

async fn one_is_looked_at(night: &Night) {
    let email = night.group(0)[7]["email"].as_str().expect("an address");
    let letters = night.json(&["dlq", "show", "--email", email]).await;
    let letter = &letters[0];
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    assert_eq!(
        (&letter["user"], &letter["reason"], &letter["attempts"], &letter["http_status"]),
        (&json!("user-0007"), &json!("attempts_exhausted"), &json!(3), &json!(503))
    );
    assert_eq!(letter["status"], "failed");
    let grant = night.json(&["tokens", "show", "user-0007"]).await;
    let told = grant["timeline"].to_string();
    assert!(told.contains("transient, HTTP status 503"), "{told}");
    let list = night.run(&["tokens", "list", "--status", "failed", "--output", "jsonl"]).await;
    let lines = String::from_utf8(list.stdout).expect("UTF-8");
    assert_eq!(lines.lines().count(), 2 * EACH);
    // Browsing has changed nothing.
    assert_eq!(night.evergrant.dead_letters().await.len(), 4 * EACH);
}

async fn processes_and_providers_are_seen(night: &Night) {
    eventually("three processes live", || async {
        night.json(&["workers"]).await.as_array().map(Vec::len) == Some(3)
    })
    .await;
    // Each process reports its counts at its own times, and an open circuit admits the dead grants
    // one by one.
    let mut told = json!({ "refreshed": USERS - 4 * EACH });
    for reason in ["attempts_exhausted", "grant_dead", "lost_response", "malformed_document"] {
        told["dead"][reason] = json!(EACH);
    }
    eventually("the statistics are told", || async {
        let overview = night.json(&["top", "--once"]).await;
        let lately = &overview["providers"][0]["lately"];
        json!({ "refreshed": lately["refreshed"], "dead": lately["dead"] }) == told
    })
    .await;
    let providers = night.json(&["providers", "list"]).await;
    assert_eq!(providers[0]["lately"]["dead"], told["dead"], "{providers}");
    assert!(providers[0]["failed_percent"].as_f64().expect("a share") > 5.0, "{providers}");
}

async fn a_redrive_at_a_paused_provider_is_queued_with_notice(night: &Night) {
    night.json(&["providers", "pause", "simulator", "--why", "their maintenance"]).await;
    let redrive = ["dlq", "redrive", "--user", "user-0000", "--yes", "--why", "does it help one?"];
    let redrive = night.run(&redrive).await;
    assert!(redrive.status.success(), "{}", said(&redrive));
    let words = String::from_utf8_lossy(&redrive.stderr).into_owned();
    assert!(words.contains("paused") && words.contains("queued"), "{words}");
    let grant = doc! { "_id": "user-0000", "evergrant.status": "active" };
    assert_eq!(night.evergrant.count(grant).await, 1);
    night.json(&["providers", "resume", "simulator"]).await;
}

async fn careless_commands_are_refused(night: &Night) {
    for (args, code) in [
        (["dlq", "redrive", "--yes", "--why", "x"].as_slice(), 2),
        (&["dlq", "redrive", "--all", "--yes"], 2),
        (&["dlq", "redrive", "--all", "--why", "x"], 2),
        (&["dlq", "discard", "--reason", "broker", "--yes", "--why", "x"], 4),
        (&["dlq", "redrive", "--provider", "nobody", "--yes", "--why", "x"], 1),
        (&["dlq", "resume", "nonsense", "--yes"], 4),
    ] {
        let output = night.run(args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
    }
    assert_eq!(night.evergrant.dead_letters().await.len(), 4 * EACH - 1);
}

async fn the_other_letters_are_redriven_at_twenty_a_second(night: &Night) -> Value {
    let all = ["dlq", "redrive", "--all", "--rps", "20"];
    let dry = night.json(&[all.as_slice(), &["--dry-run"]].concat()).await;
    let left = 4 * EACH - 1;
    assert_eq!(dry["matched"], json!(left));
    assert_eq!(night.evergrant.dead_letters().await.len(), left, "a dry run changed something");
    let began = Instant::now();
    let redriven = night.json(&[all.as_slice(), &["--yes", "--why", "it is cured"]].concat()).await;
    let least = Duration::from_millis(50 * (left as u64 - 1));
    assert!(began.elapsed() >= least, "faster than 20 a second: {:?}", began.elapsed());
    assert_eq!((&redriven["matched"], &redriven["done"]), (&json!(left), &json!(left)));
    redriven
}

async fn the_record_tells_it(night: &Night, redriven: &Value) {
    let record = night.json(&["audit"]).await;
    let record = record.as_array().expect("entries");
    let actions: Vec<_> = record.iter().filter_map(|entry| entry["action"].as_str()).collect();
    let (of_the_night, before) = actions.split_at(4);
    assert_eq!(of_the_night, ["redrive", "provider_resume", "redrive", "provider_pause"]);
    assert_eq!(before, ["import"; 6]);
    let last = &record[0];
    assert_eq!((&last["id"], &last["why"]), (&redriven["audit"], &json!("it is cured")));
    assert_eq!(
        (&last["outcome"], &last["progress"]["done"]),
        (&json!("done"), &json!(4 * EACH - 1))
    );
    assert!(last["who"].as_str().is_some_and(|who| who.contains('@')), "{last}");
    assert_eq!(last["request"]["per_second"], json!(20));
}
