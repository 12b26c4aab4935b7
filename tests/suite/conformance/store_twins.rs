//! Tests of every [`Store`] about twins: of two documents with the same refresh token, one is
//! exchanged.

use evergrant_domain::{ClaimedDocument, DocumentId};
use evergrant_ports::{Commit, Store};
use secrecy::ExposeSecret;

use super::adapters::{on_each_store, store};
use super::store::{claim, document, grant, refreshed};

on_each_store!(
    of_two_documents_with_one_token_one_stays_a_twin,
    a_twin_remains_after_the_others_refresh,
    a_token_is_free_once_its_first_document_changes,
);

const ONE: DocumentId = DocumentId::Integer(1);
const TWO: DocumentId = DocumentId::Integer(2);

/// Two documents that hold one token.
async fn with_twins() -> std::sync::Arc<dyn Store> {
    let store = store().await;
    store.import(vec![document(1, "same"), document(2, "same")]).await.unwrap();
    store.adopt().await.unwrap();
    store
}

fn is_twin_of(row: &ClaimedDocument, first: &DocumentId) -> bool {
    matches!(row, ClaimedDocument::Twin { of, owned: true, .. } if of == first)
}

async fn of_two_documents_with_one_token_one_stays_a_twin() {
    let store = with_twins().await;
    let rows = claim(&*store, &[ONE, TWO], "o").await;
    let twins = [is_twin_of(&rows[0], &TWO), is_twin_of(&rows[1], &ONE)];
    assert!(twins == [true, false] || twins == [false, true], "{rows:?}");
    let again = claim(&*store, &[ONE, TWO], "o").await;
    assert_eq!([is_twin_of(&again[0], &TWO), is_twin_of(&again[1], &ONE)], twins);
}

async fn a_twin_remains_after_the_others_refresh() {
    let store = with_twins().await;
    let first = grant(&claim(&*store, &[ONE], "o").await[0]).clone();
    let now = store.now().await.unwrap();
    let commit = Commit::of_grant(&first, "o", refreshed("a", Some("next"), now));
    store.commit(&[commit]).await.unwrap();
    assert!(is_twin_of(&claim(&*store, &[TWO], "p").await[0], &ONE));
}

async fn a_token_is_free_once_its_first_document_changes() {
    let store = with_twins().await;
    grant(&claim(&*store, &[ONE], "o").await[0]);
    assert!(is_twin_of(&claim(&*store, &[TWO], "p").await[0], &ONE));
    // Its user has signed in again before it was ever exchanged.
    store.import(vec![document(1, "another")]).await.unwrap();
    let freed = claim(&*store, &[TWO], "p").await;
    assert_eq!(grant(&freed[0]).refresh_token.expose_secret(), "same");
    store.release(&[ONE], "o").await.unwrap();
    let other = claim(&*store, &[ONE], "q").await;
    assert_eq!(grant(&other[0]).refresh_token.expose_secret(), "another");
}
