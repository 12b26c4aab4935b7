//! The gateway beside workers, on one machine: callers get live tokens, and no token is sent twice.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings};
use evergrant_testkit::deployment::eventually;
use evergrant_testkit::embedded::EmbeddedDeployment;
use evergrant_testkit::program::TestProgram;
use futures::future::join_all;
use serde_json::Value;

const USERS: u32 = 40;
const KILLS: u32 = 3;

/// A provider whose access tokens are valid for an hour, and a gateway at a port of its own.
async fn deployment() -> (EmbeddedDeployment, String) {
    let settings = SimulatorSettings {
        grace_s: 60,
        latency_ms: 20,
        access_token_s: 3_600,
        ..SimulatorSettings::default()
    };
    let config = SimulatorConfig { settings, ..SimulatorConfig::default() };
    let mut evergrant = EmbeddedDeployment::new(config).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    evergrant.set("GATEWAY__LISTEN", &free.to_string());
    evergrant.set("WORKER__LEASE", "16s");
    evergrant.set("WORKER__PERMIT_WAIT", "1s");
    evergrant.import(SeedPlan { count: USERS, ..SeedPlan::default() }).await;
    (evergrant, format!("http://{free}"))
}

async fn key(evergrant: &EmbeddedDeployment, name: &str) -> String {
    let created = evergrant.evergrant(&["keys", "create", name]).await;
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    String::from_utf8(created.stdout).unwrap().trim().to_owned()
}

fn client() -> reqwest::Client {
    evergrant_provider::install_tls();
    reqwest::Client::new()
}

/// An answer's status and body. None while nobody listens.
async fn ask(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.unwrap_or_default()))
}

async fn ids(evergrant: &EmbeddedDeployment) -> Vec<String> {
    evergrant.grants().await.into_iter().map(|grant| grant.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_get_live_tokens_through_kills() {
    let (evergrant, url) = deployment().await;
    let key = key(&evergrant, "callers").await;
    let mut run: TestProgram = evergrant.start(&["run"]);
    eventually("all grants are refreshed", || async { evergrant.unfinished().await == 0 }).await;
    let (ids, client) = (ids(&evergrant).await, client());
    let (is_over, served) = (AtomicBool::new(false), AtomicU32::new(0));
    let callers = join_all((0..16).map(async |caller: usize| {
        for turn in 0.. {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let id = &ids[(caller * 7 + turn) % ids.len()];
            let request = match turn % 4 {
                0 => client.post(format!("{url}/v1/grants/{id}/refresh")),
                _ => client.get(format!("{url}/v1/grants/{id}/token?min_ttl=50m")),
            };
            let Some((status, body)) = ask(request.bearer_auth(&key)).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            match status {
                200 => {
                    let left = body["expires_in"].as_u64().unwrap();
                    assert!(body["access_token"].is_string(), "{body}");
                    // A forced refresh asks for no more than the usual.
                    assert!(left >= if turn % 4 == 0 { 60 } else { 3_000 }, "{body}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
                503 => assert!(body["type"].as_str().unwrap().starts_with("urn:"), "{body}"),
                _ => panic!("{status}: {body}"),
            }
        }
    }));
    let killing = async {
        for kill in 1..=KILLS {
            let enough = kill * 200;
            eventually("callers are served", || async { served.load(Ordering::Relaxed) >= enough })
                .await;
            run.kill().await;
            run = evergrant.start(&["run"]);
        }
        let enough = (KILLS + 1) * 200;
        eventually("callers are served", || async { served.load(Ordering::Relaxed) >= enough })
            .await;
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(callers, killing);
    eventually("nothing is leased", || async {
        evergrant.grants().await.iter().all(|grant| grant.leased_until.is_none())
    })
    .await;
    assert!(run.terminate().await.success(), "{}", run.logged());
    let report = evergrant.judge().await;
    assert_eq!((report.live, report.lost, report.reused), (USERS.into(), 0, 0), "{report:?}");
    assert!(!run.logged().contains(&key) && !run.logged().contains("evgsim_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_created_rotated_and_revoked() {
    let (evergrant, url) = deployment().await;
    let first = key(&evergrant, "billing").await;
    let mut run = evergrant.start(&["run"]);
    eventually("all grants are refreshed", || async { evergrant.unfinished().await == 0 }).await;
    let (ids, client) = (ids(&evergrant).await, client());
    let status = async |key: &str| {
        let request = client.get(format!("{url}/v1/grants/{}/token", ids[0])).bearer_auth(key);
        ask(request).await.map(|(status, _)| status)
    };
    assert_eq!(status(&first).await, Some(200), "{}", run.logged());

    let again = evergrant.evergrant(&["keys", "create", "billing"]).await;
    assert!(!again.status.success());
    let rotated = evergrant.evergrant(&["keys", "rotate", "billing"]).await;
    let second = String::from_utf8(rotated.stdout).unwrap().trim().to_owned();
    eventually("the new secret is valid", || async { status(&second).await == Some(200) }).await;
    assert_eq!(status(&first).await, Some(200), "the old one is valid for a day");

    let listed = evergrant.evergrant(&["keys", "list", "--json"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("billing") && !listed.contains(&first) && !listed.contains(&second));
    let revoked = evergrant.evergrant(&["keys", "revoke", "billing", "--why", "a leak"]).await;
    assert!(revoked.status.success());
    eventually("the key is refused", || async { status(&second).await == Some(401) }).await;
    let audit = evergrant.evergrant(&["audit", "--json"]).await;
    let audit = String::from_utf8(audit.stdout).unwrap();
    for action in ["key_create", "key_rotate", "key_revoke", "a leak"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
    assert!(!audit.contains(&first) && !audit.contains(&second));
    assert!(run.terminate().await.success(), "{}", run.logged());
}
