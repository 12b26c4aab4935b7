//! What an administrator does and what the ledger says, over HTTP.

use evergrant_simulator::{CheckReport, LedgerSummary, SimulatorSettings, SimulatorStats};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Running, json};

async fn seeded(simulator: &Running, plan: Value) -> Vec<Value> {
    let response = simulator.post("/admin/seed").json(&plan).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let lines = response.text().await.unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn check(simulator: &Running, body: String) -> CheckReport {
    let response = simulator.post("/ledger/check").body(body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

#[tokio::test]
async fn seeded_documents_are_judged_as_lines_and_as_an_array() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let plan = json!({"count": 1_000, "dead_share": 0.1, "malformed_share": 0.1, "prefix": "u"});
    let documents = seeded(&simulator, plan).await;
    assert_eq!(documents.len(), 1_000);
    let first = &documents[0];
    assert_eq!(first["userId"], "u0000000");
    assert_eq!(first["_id"]["$oid"].as_str().unwrap().len(), 24);
    let lines: Vec<_> = documents.iter().map(Value::to_string).collect();
    let report = check(&simulator, lines.join("\n")).await;
    assert_eq!(report, check(&simulator, Value::from(documents).to_string()).await);
    assert_eq!((report.total, report.lost, report.unknown), (1_000, 0, 0));
    assert!(report.dead > 50 && report.malformed > 50, "{report:?}");
    assert_eq!(report.live + report.dead + report.malformed, 1_000);
}

#[tokio::test]
async fn a_lost_grant_is_named_by_its_id_and_never_by_its_token() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let documents = seeded(&simulator, json!({"count": 2})).await;
    let token = documents[1]["refresh_token"].as_str().unwrap();
    simulator.refreshed(token).await;
    let body = Value::from(documents.clone()).to_string();
    let request = simulator.post("/ledger/check?each=true").body(body);
    let reply = request.send().await.unwrap().text().await.unwrap();
    assert!(!reply.contains("evgsim_"), "{reply}");
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!((&reply["live"], &reply["lost"]), (&json!(1), &json!(1)));
    assert_eq!(reply["lost_ids"], json!([documents[1]["_id"]]));
    assert_eq!(reply["each"][0]["verdict"], "live");
    assert_eq!(reply["each"][1]["verdict"], json!({"lost": "rotated_away"}));
}

#[tokio::test]
async fn revoked_users_are_dead_until_they_are_forgiven() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let documents = seeded(&simulator, json!({"count": 3, "prefix": "u"})).await;
    let body = || Value::from(documents.clone()).to_string();
    let revoke = simulator.post("/admin/revoke").json(&json!({"users": ["u0000000", "u0000002"]}));
    let revoked = json(revoke.send().await.unwrap()).await;
    assert_eq!(revoked, json!({"revoked": 2, "unknown_users": 0}));
    assert_eq!(check(&simulator, body()).await.dead_by.revoked, 2);
    let forgive = simulator.post("/admin/forgive").json(&json!({"users": ["u0000000"]}));
    assert_eq!(json(forgive.send().await.unwrap()).await["forgiven"], 1);
    let all = simulator.post("/admin/forgive").send().await.unwrap();
    assert_eq!(json(all).await["forgiven"], 1);
    let token = documents[2]["refresh_token"].as_str().unwrap();
    simulator.refreshed(token).await;
    let summary = simulator.http.get(format!("{}/ledger", simulator.url)).send().await.unwrap();
    let summary: LedgerSummary = summary.json().await.unwrap();
    assert_eq!((summary.grants, summary.live, summary.exchanges), (3, 3, 1));
}

#[tokio::test]
async fn a_user_signs_in_again_and_has_two_grants() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    simulator.sign_in("ada lovelace");
    let sign_in = simulator.post("/admin/sign_in").json(&json!({"users": ["ada lovelace"]}));
    let document: Value = json(sign_in.send().await.unwrap()).await;
    simulator.refreshed(document["refresh_token"].as_str().unwrap()).await;
    let url = format!("{}/ledger/users/ada%20lovelace", simulator.url);
    let grants = json(simulator.http.get(url).send().await.unwrap()).await;
    assert_eq!((&grants[0]["generation"], &grants[1]["generation"]), (&json!(1), &json!(0)));
    assert_eq!(grants[0]["state"], "live");
}

#[tokio::test]
async fn settings_change_at_run_time_and_wrong_ones_are_named() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let patch = json!({"latency_ms": 3, "limits": ["9/s"], "faults": {"http_500": 0.25}});
    let changed = json(simulator.post("/admin/faults").json(&patch).send().await.unwrap()).await;
    assert_eq!((&changed["latency_ms"], &changed["faults"]["http_500"]), (&json!(3), &json!(0.25)));
    let url = format!("{}/admin/faults", simulator.url);
    assert_eq!(json(simulator.http.get(url).send().await.unwrap()).await, changed);
    for wrong in ["{\"latncy_ms\":3}", "{\"limits\":[\"0/s\"]}", "nonsense", "7"] {
        let response = simulator.post("/admin/faults").body(wrong).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(json(response).await["error"].is_string());
    }
    assert_eq!(simulator.handle.settings().latency_ms, 3);
}

#[tokio::test]
async fn broken_input_is_told_by_its_place_and_never_quoted() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let paths = ["/ledger/check", "/admin/seed", "/admin/revoke"];
    for (path, body) in [
        (paths[0], "{\"a\":1}\n{\"evgsim_rt_x\" \"y\"}"),
        (paths[0], "{\"a\":1}\nevgsim_rt_x"),
        (paths[0], "{\"a\":\"evgsim_rt_x"),
        (paths[1], "{\"count\":0}"),
        (paths[1], "{\"dead_share\":2}"),
        (paths[2], "{}"),
    ] {
        let response = simulator.post(path).body(body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        let error = json(response).await["error"].to_string();
        assert!(!error.contains("evgsim_"), "{error}");
    }
}

#[tokio::test]
async fn stats_tell_what_was_asked_and_can_be_set_back() {
    let limits = vec!["2/s".parse().unwrap()];
    let simulator =
        Running::start(SimulatorSettings { limits, ..SimulatorSettings::default() }).await;
    let mut token = simulator.sign_in("ada");
    for _ in 0..2 {
        token = simulator.refreshed(&token).await;
    }
    simulator.refresh(&token).await.unwrap();
    let url = format!("{}/stats", simulator.url);
    let stats: SimulatorStats =
        simulator.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((stats.requests, stats.exchanges, stats.grants), (3, 2, 1));
    assert_eq!((stats.answers.refreshed, stats.answers.throttled), (2, 1));
    assert_eq!((stats.max_in_1s, stats.max_in_60s, stats.in_flight_max), (3, 3, 1));
    simulator.post("/admin/reset_stats").send().await.unwrap();
    let stats: SimulatorStats =
        simulator.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((stats.requests, stats.max_in_60s, stats.grants), (0, 0, 1));
    let health = simulator.http.get(format!("{}/healthz", simulator.url)).send().await.unwrap();
    assert_eq!(health.text().await.unwrap(), "ok\n");
}

#[tokio::test]
async fn a_script_is_played_until_another_comes_and_its_requests_are_told() {
    let simulator = Running::start(SimulatorSettings::default()).await;
    let token = simulator.sign_in("ada");
    let script = "[[rules]]\nusers = 'ada'\nanswers = [{ status = 418, content_type = 'text/plain', \
                  headers = { X-Request-Id = 'r7', Retry-After = '9' }, body = 'short and stout' }]";
    let play = simulator.post("/admin/script").body(script).send().await.unwrap();
    assert_eq!(play.status(), StatusCode::OK);
    let reply = simulator.refresh(&token).await.unwrap();
    assert_eq!(reply.status(), 418);
    assert_eq!(
        (&reply.headers()["x-request-id"], &reply.headers()["retry-after"]),
        (&"r7".parse().unwrap(), &"9".parse().unwrap())
    );
    assert_eq!(reply.headers()["content-type"], "text/plain");
    assert_eq!(reply.text().await.unwrap(), "short and stout");
    let wrong = simulator.post("/admin/script").body("rules = 5").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    simulator.post("/admin/script").send().await.unwrap();
    simulator.refreshed(&token).await;
    let url = format!("{}/ledger/requests", simulator.url);
    let told = simulator.http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(!told.contains("evgsim_"), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told[0]["rule"], &told[0]["status"]), (&json!(0), &json!(418)));
    assert_eq!((&told[1]["user_id"], &told[1]["refreshed"]), (&json!("ada"), &json!(true)));
}
