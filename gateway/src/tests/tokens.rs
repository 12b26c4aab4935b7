//! Tokens that are handed out, refreshed or refused.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::GrantStatus;
use futures::future::join_all;
use http::StatusCode;
use serde_json::json;

use super::scene::{NOW, Scene};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_token_that_suffices_is_handed_out_as_it_is() {
    let scene = Scene::new().await;
    let answer = scene.get("/v1/grants/alice/token?min_ttl=10m").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["access_token"], "access-of-alice");
    assert_eq!(answer.body["token_type"], "Bearer");
    assert_eq!(answer.body["expires_in"], 1_800);
    assert_eq!(answer.body["user_id"], "alice");
    assert_eq!(answer.header("cache-control"), "private, max-age=1200");
    assert_eq!(scene.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_valid_for_too_short_a_time_is_refreshed() {
    let scene = Scene::new().await;
    let answer = scene.get("/v1/grants/alice/token?min_ttl=45m").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["access_token"], "access-1");
    assert_eq!(answer.body["generation"], 1);
    assert_eq!(scene.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_one_grant_cause_one_exchange() {
    let scene = Scene::new().await;
    let asked = (0..1_000).map(|_| scene.get("/v1/grants/alice/token?min_ttl=45m"));
    let answers = join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.body["access_token"] == "access-1"));
    assert_eq!(scene.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_of_several_replicas_cause_one_exchange() {
    let scene = Scene::new().await;
    let (store, provider) = (Arc::clone(&scene.store), Arc::clone(&scene.provider));
    let mut replicas = vec![scene];
    for _ in 0..3 {
        replicas.push(Scene::replica(Arc::clone(&store), Arc::clone(&provider)).await);
    }
    let asked = (0..40).map(|n| replicas[n % 4].get("/v1/grants/alice/token?min_ttl=45m"));
    for answer in join_all(asked).await {
        assert_eq!(answer.body["access_token"], "access-1", "{}", answer.body);
    }
    assert_eq!(replicas[0].requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_brings_a_new_token() {
    let scene = Scene::new().await;
    let answer = scene.ask("POST", "/v1/grants/alice/refresh", &[]).await;
    assert_eq!(answer.body["access_token"], "access-1", "{}", answer.body);
    let answer = scene.ask("POST", "/v1/grants/alice/refresh", &[]).await;
    assert_eq!(answer.body["access_token"], "access-2", "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn who_has_the_token_already_is_told_so() {
    let scene = Scene::new().await;
    let first = scene.get("/v1/grants/alice/token").await;
    let tag = first.header("etag").to_owned();
    let again = scene.ask("GET", "/v1/grants/alice/token", &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.is_null()), (StatusCode::NOT_MODIFIED, true));
    scene.edit("alice", "access_token", json!("of a new sign-in"));
    let again = scene.ask("GET", "/v1/grants/alice/token", &[("if-none-match", &tag)]).await;
    assert_eq!(again.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_lifetime_is_refused() {
    let scene = Scene::new().await;
    let answer = scene.get("/v1/grants/alice/token?min_ttl=2h").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.body["type"], "urn:evergrant:problem:min_ttl_exceeds_lifetime");
    assert_eq!(answer.body["lifetime_s"], 3_600);
    assert_eq!(scene.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_grant_is_told_with_the_address_to_sign_in() {
    let scene = Scene::new().await;
    *scene.provider.refusal.lock().unwrap() = Some((400, r#"{"error":"invalid_grant"}"#));
    scene.set_status("alice", GrantStatus::NeedsReauth);
    let answer = scene.get("/v1/grants/alice/token").await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.body["type"], "urn:evergrant:problem:needs_reauth");
    assert_eq!(answer.body["sign_in_url"], "https://p.example/sign-in");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.body.to_string().contains("access-of-alice"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_hands_out_the_token_that_still_lives() {
    let scene = Scene::new().await;
    *scene.provider.refusal.lock().unwrap() = Some((503, "busy"));
    let answer = scene.get("/v1/grants/alice/token?min_ttl=45m").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body["token"]["access_token"], "access-of-alice", "{}", answer.body);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(scene.requests(), 1, "a caller's wait is no reason to send again and again");
}

#[tokio::test(start_paused = true)]
async fn callers_do_not_try_a_failed_refresh_before_its_time() {
    let scene = Scene::new().await;
    *scene.provider.refusal.lock().unwrap() = Some((400, r#"{"error":"invalid_grant"}"#));
    for _ in 0..20 {
        let answer = scene.get("/v1/grants/alice/token?min_ttl=45m").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    }
    assert_eq!(scene.requests(), 1, "a death is asked for again after its pause, and no sooner");
    *scene.provider.refusal.lock().unwrap() = None;
    tokio::time::sleep(MINUTE).await;
    let answer = scene.get("/v1/grants/alice/token?min_ttl=45m").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn a_whole_lifetime_is_refreshed_for_once() {
    let scene = Scene::new().await;
    let answer = scene.get("/v1/grants/alice/token?min_ttl=1h").await;
    assert!(scene.requests() <= 1, "{} requests", scene.requests());
    let (status, expected) = (answer.status, [StatusCode::OK, StatusCode::UNPROCESSABLE_ENTITY]);
    assert!(expected.contains(&status), "{status}: {}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expired_during_the_wait_is_in_no_answer() {
    let scene = Scene::new().await;
    scene.add_grant("bob", Duration::from_secs(5)).await;
    let until = NOW.plus(MINUTE).unix_ms().to_string();
    let lease = json!({ "owner": "other/p/1", "until": { "$date": { "$numberLong": until } } });
    scene.edit("bob", "evergrant.lease", lease);
    let answer = scene.get("/v1/grants/bob/token?min_ttl=45m&wait=20s").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.body.to_string().contains("access-of-bob"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_a_problem_detail() {
    let scene = Scene::new().await;
    for (method, path, status) in [
        ("POST", "/v1/grants/alice/token", StatusCode::METHOD_NOT_ALLOWED),
        ("GET", "/v1/grants/%FF/token", StatusCode::BAD_REQUEST),
        ("GET", "/v2/token", StatusCode::NOT_FOUND),
        ("GET", "/v1/grants/alice/token?user=bob", StatusCode::BAD_REQUEST),
    ] {
        let answer = scene.ask(method, path, &[]).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_in_no_answer() {
    let scene = Scene::new().await;
    scene.add_grant("bob", Duration::ZERO).await;
    *scene.provider.refusal.lock().unwrap() = Some((503, "busy"));
    let answer = scene.get("/v1/grants/bob/token?min_ttl=0").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.body.to_string().contains("access-of-bob"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_another_process_has_in_hand_is_waited_for() {
    let scene = Scene::new().await;
    let until = NOW.plus(MINUTE).unix_ms().to_string();
    let lease = json!({ "owner": "other/p/1", "until": { "$date": { "$numberLong": until } } });
    scene.edit("alice", "evergrant.lease", lease);
    let answer = scene.get("/v1/grants/alice/token?min_ttl=45m&wait=2s").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body["type"], "urn:evergrant:problem:refresh_under_way");
    assert_eq!(answer.body["token"]["access_token"], "access-of-alice");
    assert_eq!(scene.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_user_is_found_by_id_or_email() {
    let scene = Scene::new().await;
    for query in ["user=alice", "email=alice@example.com", "user=alice&provider=p"] {
        let answer = scene.get(&format!("/v1/token?{query}")).await;
        assert_eq!(answer.body["access_token"], "access-of-alice", "{query}: {}", answer.body);
    }
    for query in ["user=nobody", "user=alice&provider=q"] {
        assert_eq!(scene.get(&format!("/v1/token?{query}")).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_with_two_grants_has_to_be_told_apart() {
    let scene = Scene::new().await;
    scene.add_grant("bob", MINUTE).await;
    scene.edit("bob", "userId", json!("alice"));
    let answer = scene.get("/v1/token?user=alice").await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.body["ids"], json!(["alice", "bob"]));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_read_says_what_would_be_right() {
    let scene = Scene::new().await;
    for (path, says) in [
        ("/v1/grants/alice/token?min_ttl=soon", "min_ttl is a duration"),
        ("/v1/grants/alice/token?ttl=60s", "unknown field"),
        ("/v1/token", "either user or email"),
        ("/v1/token?user=alice&email=alice@example.com", "either user or email"),
        ("/v1/token?user=alice&provider=%20", "provider is the name of a section"),
    ] {
        let answer = scene.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{path}: {detail}");
    }
}
