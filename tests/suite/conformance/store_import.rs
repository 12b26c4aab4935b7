//! Tests of every [`Store`]: which imported documents replace existing ones.

use evergrant_domain::DocumentId;
use evergrant_domain::marks::REMEMBERED;
use evergrant_ports::{CommitResult, ImportDocument, ImportMode, ImportResult, Store};
use serde_json::{Value, json};

use super::adapters::{on_each_store, store};
use super::store::{LEASE, claim_for, commit, document, ended, exported, refreshed, with};
use super::store_revival::{give_up, sweep};

on_each_store!(
    an_old_file_does_not_replace_a_refreshed_token,
    an_exchanged_token_is_never_restored,
    a_token_replaced_by_the_application_is_never_restored,
    a_dead_token_is_not_restored_after_a_sign_in,
    a_sign_in_after_refreshes_imports_a_new_token,
    two_sign_ins_never_restore_the_first_token,
    an_ended_grant_takes_a_new_token_only,
    an_older_export_does_not_replace_newer_documents,
    beyond_the_remembered_tokens_an_unknown_one_is_skipped,
    an_earlier_access_token_is_older_without_rotation,
    a_document_without_a_token_removes_no_later_token,
    an_import_during_an_exchange_does_not_undo_it,
    an_object_id_and_its_digits_exclude_each_other,
    a_copy_of_a_store_keeps_twins,
);

/// Exchanges the token of a document for `next`.
async fn refresh(store: &dyn Store, id: &DocumentId, next: Option<&str>) {
    let claimed = claim_for(store, std::slice::from_ref(id), "o", LEASE).await;
    let write = refreshed("access", next, claimed.now);
    assert_eq!(commit(store, &claimed.rows[0], "o", write).await, CommitResult::Applied);
}

async fn import(store: &dyn Store, token: impl Into<Value>) -> ImportResult {
    store.import(vec![document(1, token)]).await.unwrap().remove(0)
}

async fn token(store: &dyn Store) -> Value {
    exported(store).await[0]["refresh_token"].clone()
}

async fn an_old_file_does_not_replace_a_refreshed_token() {
    let (store, ids) = with(2).await;
    refresh(&*store, &ids[0], Some("second")).await;
    let file = || vec![document(1, "token-1"), document(2, "token-2"), document(3, "new")];
    let again = store.import(file()).await.unwrap();
    assert_eq!(again, [ImportResult::Kept, ImportResult::Updated, ImportResult::Inserted]);
    assert_eq!(token(&*store).await, "second");

    let over = store.import_as(file(), ImportMode::Overwrite).await.unwrap();
    assert_eq!(over, [ImportResult::Updated, ImportResult::Updated, ImportResult::Updated]);
    assert_eq!(token(&*store).await, "token-1");
}

async fn an_exchanged_token_is_never_restored() {
    let (store, ids) = with(1).await;
    for next in ["second", "third", "fourth"] {
        refresh(&*store, &ids[0], Some(next)).await;
    }
    for spent in ["token-1", "second", "third"] {
        assert_eq!(import(&*store, spent).await, ImportResult::Kept, "{spent}");
    }
    assert_eq!(import(&*store, "fourth").await, ImportResult::Updated);
}

/// The application writes a token into the document, without Evergrant.
async fn write_past(store: &dyn Store, token: &str) {
    let mut document = exported(store).await.remove(0).as_object().unwrap().clone();
    document.insert("refresh_token".to_owned(), token.into());
    store.import_as(vec![ImportDocument(document)], ImportMode::Copy).await.unwrap();
}

async fn a_token_replaced_by_the_application_is_never_restored() {
    let (store, ids) = with(1).await;
    refresh(&*store, &ids[0], Some("second")).await;
    write_past(&*store, "signed-in").await;
    assert_eq!(import(&*store, "second").await, ImportResult::Kept, "it had come for token-1");
    for _ in 0..2 * REMEMBERED {
        refresh(&*store, &ids[0], None).await;
    }
    write_past(&*store, "signed-in-again").await;
    for older in ["token-1", "second", "signed-in"] {
        assert_eq!(import(&*store, older).await, ImportResult::Kept, "{older}");
    }
    assert_eq!(import(&*store, "new").await, ImportResult::Updated);
}

async fn a_dead_token_is_not_restored_after_a_sign_in() {
    let (store, ids) = with(1).await;
    give_up(&store, &ids[0]).await;
    write_past(&*store, "signed-in").await;
    assert_eq!(sweep(&store).await, 1);
    assert_eq!(import(&*store, "token-1").await, ImportResult::Kept);
    assert_eq!(import(&*store, "new").await, ImportResult::Updated);
}

async fn a_sign_in_after_refreshes_imports_a_new_token() {
    let (store, ids) = with(1).await;
    for next in ["second", "third", "fourth"] {
        refresh(&*store, &ids[0], Some(next)).await;
    }
    assert_eq!(import(&*store, "signed-in").await, ImportResult::Updated);
    assert_eq!(token(&*store).await, "signed-in");
    assert_eq!(import(&*store, "fourth").await, ImportResult::Kept, "it was replaced");
}

async fn two_sign_ins_never_restore_the_first_token() {
    let (store, ids) = with(1).await;
    assert_eq!(import(&*store, "signed-in").await, ImportResult::Updated);
    assert_eq!(import(&*store, "token-1").await, ImportResult::Kept);
    refresh(&*store, &ids[0], Some("second")).await;
    assert_eq!(import(&*store, "signed-in-again").await, ImportResult::Updated);
    for older in ["token-1", "signed-in", "second"] {
        assert_eq!(import(&*store, older).await, ImportResult::Kept, "{older}");
    }
}

async fn an_ended_grant_takes_a_new_token_only() {
    let (store, ids) = with(1).await;
    refresh(&*store, &ids[0], Some("second")).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    commit(&*store, &claimed.rows[0], "o", ended(claimed.now)).await;
    assert_eq!(import(&*store, "token-1").await, ImportResult::Kept);
    assert_eq!(import(&*store, "signed-in").await, ImportResult::Updated);
    assert_eq!(import(&*store, "second").await, ImportResult::Kept);
}

async fn an_older_export_does_not_replace_newer_documents() {
    let (store, ids) = with(1).await;
    refresh(&*store, &ids[0], None).await;
    let export = exported(&*store).await.remove(0);
    refresh(&*store, &ids[0], None).await;
    let file = || vec![ImportDocument(export.as_object().unwrap().clone())];
    assert_eq!(store.import(file()).await.unwrap(), [ImportResult::Kept]);
    let elsewhere = with(1).await.0;
    assert_eq!(elsewhere.import(file()).await.unwrap(), [ImportResult::Updated]);
}

async fn beyond_the_remembered_tokens_an_unknown_one_is_skipped() {
    let (store, ids) = with(1).await;
    for n in 0..REMEMBERED {
        refresh(&*store, &ids[0], Some(&format!("token-1.{n}"))).await;
    }
    assert_eq!(import(&*store, "token-1.0").await, ImportResult::Kept);
    assert_eq!(import(&*store, "unknown").await, ImportResult::KeptUnknown);
    let claimed = claim_for(&*store, &ids, "last", LEASE).await;
    commit(&*store, &claimed.rows[0], "last", ended(claimed.now)).await;
    assert_eq!(import(&*store, "unknown").await, ImportResult::Updated);
    let marks = exported(&*store).await[0]["evergrant"]["held_before"].as_array().unwrap().len();
    assert_eq!(marks, REMEMBERED);
}

async fn an_earlier_access_token_is_older_without_rotation() {
    let (store, ids) = with(1).await;
    refresh(&*store, &ids[0], None).await;
    let line = |access: &str| {
        let line =
            json!({ "_id": 1, "access_token": access, "refresh_token": "token-1", "email": "new" });
        vec![ImportDocument(line.as_object().unwrap().clone())]
    };
    assert_eq!(store.import(line("of before")).await.unwrap(), [ImportResult::Kept]);
    assert_eq!(store.import(line("access")).await.unwrap(), [ImportResult::Updated]);
    assert_eq!(exported(&*store).await[0]["email"], "new");
}

async fn a_document_without_a_token_removes_no_later_token() {
    let store = store().await;
    assert_eq!(import(&*store, Value::Null).await, ImportResult::Inserted);
    store.adopt().await.unwrap();
    assert_eq!(import(&*store, "signed-in").await, ImportResult::Updated);
    assert_eq!(import(&*store, Value::Null).await, ImportResult::Kept);
    assert_eq!(token(&*store).await, "signed-in");
}

async fn an_import_during_an_exchange_does_not_undo_it() {
    let (store, ids) = with(1).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    assert_eq!(import(&*store, "token-1").await, ImportResult::Updated);
    let write = refreshed("access", Some("second"), claimed.now);
    assert_eq!(commit(&*store, &claimed.rows[0], "o", write).await, CommitResult::Applied);
    assert_eq!(import(&*store, "token-1").await, ImportResult::Kept);

    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    assert_eq!(import(&*store, "signed-in").await, ImportResult::Updated);
    let write = refreshed("access", Some("third"), claimed.now);
    assert_eq!(commit(&*store, &claimed.rows[0], "o", write).await, CommitResult::Superseded);
    assert_eq!(token(&*store).await, "signed-in");
}

async fn an_object_id_and_its_digits_exclude_each_other() {
    const DIGITS: &str = "65f0c0ffee65f0c0ffee65f0";
    let object_id: DocumentId = DIGITS.parse().unwrap();
    let string = DocumentId::String(DIGITS.to_owned());
    for (first, second) in [(&object_id, &string), (&string, &object_id)] {
        let (store, empty) = (store().await, store().await);
        let line = |id: &DocumentId| document(Value::from(id.clone()), "t");
        assert_eq!(store.import(vec![line(first)]).await.unwrap(), [ImportResult::Inserted]);
        let twin = store.import(vec![line(second), line(first)]).await.unwrap();
        assert_eq!(twin, [ImportResult::Twin(first.clone()), ImportResult::Updated]);
        let both = empty.import(vec![line(first), line(second)]).await;
        assert_eq!(both.unwrap(), [ImportResult::Inserted, ImportResult::Twin(first.clone())]);
    }
}

async fn a_copy_of_a_store_keeps_twins() {
    const DIGITS: &str = "65f0c0ffee65f0c0ffee65f0";
    let store = store().await;
    let ids = [json!(DIGITS), json!({ "$oid": DIGITS })];
    let documents = ids.map(|id| document(id, "t")).into();
    let copied = store.import_as(documents, ImportMode::Copy).await.unwrap();
    assert_eq!(copied, [ImportResult::Inserted, ImportResult::Inserted]);
}
