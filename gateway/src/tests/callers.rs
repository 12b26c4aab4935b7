//! Who is let in, and to what.

use std::time::Duration;

use axum::body::Body;
use evergrant_domain::api_key::KeyScope;
use evergrant_ports::KeyStore;
use http::{Request, StatusCode};

use super::scene::{NOW, Scene};

const PATH: &str = "/v1/grants/alice/token";

async fn status_with(scene: &Scene, authorization: Option<&str>) -> StatusCode {
    let mut request = Request::builder().uri(PATH);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    scene.send(request.body(Body::empty()).unwrap()).await.status
}

#[tokio::test(start_paused = true)]
async fn without_a_valid_key_nothing_is_told() {
    let scene = Scene::new().await;
    let key = scene.key.clone();
    for wrong in [
        None,
        Some(String::new()),
        Some(key.clone()),
        Some(format!("Basic {key}")),
        Some(format!("Bearer {key}x")),
        Some("Bearer evg_other_0123".to_owned()),
    ] {
        let status = status_with(&scene, wrong.as_deref()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    assert_eq!(status_with(&scene, Some(&format!("bearer {key}"))).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_ends_within_a_second() {
    let scene = Scene::new().await;
    assert_eq!(scene.get(PATH).await.status, StatusCode::OK);
    scene.store.remove_api_key("test").await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(scene.get(PATH).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_key_ends_by_the_stores_clock() {
    let scene = Scene::new().await;
    let end = NOW.plus(Duration::from_secs(60));
    scene.set_key(|key| key.secrets[0].expires_at = Some(end)).await;
    assert_eq!(scene.get(PATH).await.status, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(scene.get(PATH).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_scope_allows_what_it_says() {
    let scene = Scene::new().await;
    for (scope, token, grant) in [
        (KeyScope::Token, StatusCode::OK, StatusCode::FORBIDDEN),
        (KeyScope::Status, StatusCode::FORBIDDEN, StatusCode::OK),
        (KeyScope::Write, StatusCode::FORBIDDEN, StatusCode::FORBIDDEN),
    ] {
        scene.set_key(|key| key.scopes = vec![scope]).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(scene.get(PATH).await.status, token, "{scope}");
        let answer = scene.get("/v1/grants/alice").await;
        assert_eq!(answer.status, grant, "{scope}");
        assert!(!answer.body.to_string().contains("access-of-alice"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_out_of_reach_is_as_one_that_is_not_there() {
    let scene = Scene::new().await;
    scene.add_grant("bob", Duration::from_secs(1_800)).await;
    scene.set_key(|key| key.users = vec!["b*".to_owned()]).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let (there, nowhere) = (scene.get(PATH).await, scene.get("/v1/grants/nobody/token").await);
    assert_eq!((there.status, &there.body), (StatusCode::NOT_FOUND, &nowhere.body));
    assert_eq!(scene.get("/v1/token?user=alice").await.status, StatusCode::NOT_FOUND);
    assert_eq!(scene.get("/v1/grants/bob/token").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_use_of_a_key_is_noted() {
    let scene = Scene::new().await;
    scene.get(PATH).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let records = scene.store.api_keys().await.unwrap();
    assert!(records[0].last_used_at.is_some());
}
