//! Tests of every [`Store`] about withheld documents, whose new tokens are elsewhere.

use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::{DocumentId, DocumentWrite, FailureKind, GrantStatus, Timestamp};
use evergrant_ports::{CommitResult, DueSelection, Store};
use secrecy::SecretString;

use super::adapters::on_each_store;
use super::store::{LEASE, claim, claim_for, commit, document, due, error, refreshed, with};

on_each_store!(
    a_withheld_document_is_neither_due_nor_claimed,
    only_a_document_that_holds_the_spent_token_is_withheld,
    the_new_tokens_of_a_withheld_document_make_it_active,
    a_withheld_document_is_not_revived_by_sweeps,
);

async fn withhold(store: &dyn Store, id: i64, token: &str) -> bool {
    let now = store.now().await.unwrap();
    let why = error(FailureKind::UncommittedAnswer, now);
    let spent = fingerprint(&SecretString::from(token));
    store.withhold(&DocumentId::Integer(id), &spent, &why).await.unwrap()
}

async fn a_withheld_document_is_neither_due_nor_claimed() {
    let (store, ids) = with(2).await;
    let held = claim_for(&*store, &ids[..1], "o", LEASE).await;
    assert!(withhold(&*store, 1, "token-1").await);
    let view = store.get(&ids[0]).await.unwrap().unwrap();
    assert_eq!((view.status, view.leased_until), (Some(GrantStatus::Failed), None));
    assert_eq!(view.last_error.as_ref().unwrap().reason, FailureKind::UncommittedAnswer);
    assert!(view.waits_for_answer());
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 1);
    assert!(!claim(&*store, &ids[..1], "next").await[0].owned());
    // Its holder's result for the old token does not count any more.
    let write = DocumentWrite::End {
        status: GrantStatus::NeedsReauth,
        attempts: 1,
        failing_since: held.now,
        last_error: error(FailureKind::GrantDead, held.now),
        dead_fingerprint: None,
    };
    assert_eq!(commit(&*store, &held.rows[0], "o", write).await, CommitResult::Superseded);
    assert!(withhold(&*store, 1, "token-1").await, "twice is the same as once");
}

async fn only_a_document_that_holds_the_spent_token_is_withheld() {
    let (store, ids) = with(1).await;
    assert!(!withhold(&*store, 1, "another").await);
    assert!(!withhold(&*store, 404, "token-1").await);
    assert_eq!(store.get(&ids[0]).await.unwrap().unwrap().status, Some(GrantStatus::Active));
    store.import(vec![document(2, "token-2")]).await.unwrap();
    assert!(!withhold(&*store, 2, "token-2").await, "it is not adopted yet");
}

async fn the_new_tokens_of_a_withheld_document_make_it_active() {
    let (store, ids) = with(1).await;
    let held = claim_for(&*store, &ids, "o", LEASE).await;
    assert!(withhold(&*store, 1, "token-1").await);
    let write = refreshed("access", Some("token-new"), held.now);
    assert_eq!(commit(&*store, &held.rows[0], "o", write).await, CommitResult::Applied);
    let view = store.get(&ids[0]).await.unwrap().unwrap();
    assert_eq!((view.status, view.last_error), (Some(GrantStatus::Active), None));
    assert_eq!(view.generation, 1);
    assert!(!withhold(&*store, 1, "token-1").await, "it has moved on");
}

async fn a_withheld_document_is_not_revived_by_sweeps() {
    let (store, ids) = with(1).await;
    assert!(withhold(&*store, 1, "token-1").await);
    assert_eq!(super::store_revival::sweep(&store).await, 0);
    let provider = "p".parse().unwrap();
    assert_eq!(store.revive_dead(&provider, Timestamp::default()).await.unwrap(), 0);
    assert!(store.get(&ids[0]).await.unwrap().unwrap().waits_for_answer());
}
