//! Tests of every [`Store`] about the gateway: access tokens, and the keys of callers.

use std::time::Duration;

use evergrant_domain::api_key::{ApiKey, KeyScope, KeySecret, key_hash};
use evergrant_domain::{DocumentId, GrantStatus};
use secrecy::ExposeSecret;
use serde_json::json;

use super::adapters::{on_each_store, store};
use super::store::{LEASE, claim_for, commit, document, refreshed};

on_each_store!(
    an_access_token_is_read_with_what_is_known_of_it,
    a_document_without_a_token_has_none,
    a_key_is_kept_with_its_last_use,
);

async fn an_access_token_is_read_with_what_is_known_of_it() {
    let store = store().await;
    let (id, nobody) = (DocumentId::Integer(1), DocumentId::Integer(2));
    store.import(vec![document(1, "token")]).await.unwrap();
    let new = store.stored_token(&id).await.unwrap().unwrap();
    assert_eq!((new.status, new.generation, new.access_expires_at), (None, 0, None));
    assert!(store.stored_token(&nobody).await.unwrap().is_none());

    store.adopt().await.unwrap();
    let claimed = claim_for(&*store, std::slice::from_ref(&id), "o", LEASE).await;
    let leased = store.stored_token(&id).await.unwrap().unwrap();
    assert!(leased.leased_until.is_some_and(|until| until > leased.read_at));

    let write = refreshed("access-2", Some("refresh-2"), claimed.now);
    commit(&*store, &claimed.rows[0], "o", write).await;
    let stored = store.stored_token(&id).await.unwrap().unwrap();
    assert_eq!(stored.access_token.as_ref().map(ExposeSecret::expose_secret), Some("access-2"));
    assert_eq!((stored.status, stored.generation), (Some(GrantStatus::Active), 1));
    assert_eq!((stored.refreshed_at, stored.leased_until), (Some(claimed.now), None));
    let (left, hour) = (stored.left().unwrap(), Duration::from_secs(3_600));
    assert!(left <= hour && left > hour - Duration::from_secs(60), "{left:?}");
    assert!(!format!("{stored:?}").contains("access-2"));
}

async fn a_document_without_a_token_has_none() {
    let store = store().await;
    for (id, token) in [(1, json!("")), (2, json!(null)), (3, json!(7)), (4, json!(["a"]))] {
        let mut imported = document(id, format!("token-{id}"));
        imported.0.insert("access_token".to_owned(), token);
        store.import(vec![imported]).await.unwrap();
        let stored = store.stored_token(&DocumentId::Integer(id)).await.unwrap().unwrap();
        assert!(stored.access_token.is_none(), "{id}");
    }
}

async fn a_key_is_kept_with_its_last_use() {
    let store = store().await;
    let now = store.now().await.unwrap();
    let secret = |text| KeySecret { hash: key_hash(text), created_at: now, expires_at: None };
    let mut key = ApiKey::new("billing".to_owned(), secret("one"), vec![KeyScope::Token]);
    assert!(store.add_api_key(&key).await.unwrap());
    assert!(!store.add_api_key(&key).await.unwrap(), "there is one of this name");
    let other = ApiKey::new("audit".to_owned(), secret("two"), vec![KeyScope::Status]);
    assert!(store.add_api_key(&other).await.unwrap());

    store.note_key_use("billing").await.unwrap();
    store.note_key_use("nobody").await.unwrap();
    let before = key.clone();
    key.rotate(secret("three"), Duration::from_secs(60));
    assert!(store.change_api_key(&before, &key).await.unwrap());
    assert!(!store.change_api_key(&before, &key).await.unwrap(), "it has changed since");
    let records = store.api_keys().await.unwrap();
    assert_eq!(records.iter().map(|it| &it.key).collect::<Vec<_>>(), [&other, &key]);
    assert!(records[0].last_used_at.is_none());
    assert!(records[1].last_used_at.is_some_and(|used| used >= now), "a rotation keeps it");

    assert!(store.remove_api_key("billing").await.unwrap());
    assert!(!store.remove_api_key("billing").await.unwrap());
    assert!(!store.change_api_key(&key, &before).await.unwrap(), "it is gone");
    assert_eq!(store.api_keys().await.unwrap().len(), 1);
}
