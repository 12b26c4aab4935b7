//! What holds for every [`TokenStore`]: who was given up and lives again.

use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::domain::grant::fingerprint;
use evergrant_shared::domain::{DocumentId, Status, Timestamp, Write};
use evergrant_shared::ports::{Committed, GrantView, TokenStore, Which};
use secrecy::SecretString;

use super::adapters::on_each_store;
use super::store::{LEASE, claim, claim_for, commit, document, due, ended, postponed, with};

on_each_store!(
    who_has_signed_in_again_is_due_with_all_failures_forgotten,
    who_has_not_signed_in_again_stays_given_up,
    a_grant_that_failed_is_not_revived_by_a_new_token,
    deaths_that_are_not_believed_are_revived,
    deaths_of_before_or_of_another_provider_stay,
    a_user_who_signed_in_again_is_no_disbelieved_death,
);

/// Gives up a document as dead, as a worker does, and says when.
async fn give_up(store: &Arc<dyn TokenStore>, id: &DocumentId) -> Timestamp {
    let ids = std::slice::from_ref(id);
    let claimed = claim_for(&**store, ids, "o", LEASE).await;
    let token = SecretString::from(format!("token-{id}"));
    let write = match ended(claimed.now) {
        Write::End { status, attempts, failing_since, last_error, .. } => Write::End {
            status,
            attempts,
            failing_since,
            last_error,
            dead_fingerprint: Some(fingerprint(&token)),
        },
        other => other,
    };
    assert_eq!(commit(&**store, &claimed.rows[0], "o", write).await, Committed::Applied);
    claimed.now
}

async fn view(store: &Arc<dyn TokenStore>, id: &DocumentId) -> GrantView {
    store.get(id).await.unwrap().unwrap()
}

async fn who_has_signed_in_again_is_due_with_all_failures_forgotten() {
    let (store, ids) = with(3).await;
    // In doubt, from a failure before the end.
    let claimed = claim_for(&*store, &ids[..1], "o", LEASE).await;
    commit(&*store, &claimed.rows[0], "o", postponed(claimed.now)).await;
    give_up(&store, &ids[0]).await;
    store.import(vec![document(1, "signed-in-again")]).await.unwrap();
    assert_eq!(store.revive_signed_in().await.unwrap(), 1);
    let revived = view(&store, &ids[0]).await;
    assert_eq!(revived.status, Some(Status::Active));
    assert_eq!((revived.attempts, revived.in_doubt, revived.last_error), (0, false, None));
    assert_eq!(revived.queued_until, None);
    assert_eq!(due(&*store, Which::Due).await.len(), 3);
    assert_eq!(store.revive_signed_in().await.unwrap(), 0);
    assert!(claim(&*store, &ids[..1], "next").await[0].owned());
}

async fn who_has_not_signed_in_again_stays_given_up() {
    let (store, ids) = with(2).await;
    give_up(&store, &ids[0]).await;
    assert_eq!(store.revive_signed_in().await.unwrap(), 0);
    assert_eq!(view(&store, &ids[0]).await.status, Some(Status::NeedsReauth));
    // What holds no token at all has not signed in.
    store.import(vec![document(1, serde_json::Value::Null)]).await.unwrap();
    assert_eq!(store.revive_signed_in().await.unwrap(), 0);
}

async fn a_grant_that_failed_is_not_revived_by_a_new_token() {
    let (store, ids) = with(1).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    let Write::End { attempts, failing_since, last_error, dead_fingerprint, .. } =
        ended(claimed.now)
    else {
        panic!("no end")
    };
    let status = Status::Failed;
    let failed = Write::End { status, attempts, failing_since, last_error, dead_fingerprint };
    commit(&*store, &claimed.rows[0], "o", failed).await;
    store.import(vec![document(1, "another")]).await.unwrap();
    assert_eq!(store.revive_signed_in().await.unwrap(), 0);
    assert_eq!(view(&store, &ids[0]).await.status, Some(Status::Failed));
}

async fn deaths_that_are_not_believed_are_revived() {
    let (store, ids) = with(3).await;
    let since = give_up(&store, &ids[0]).await;
    give_up(&store, &ids[1]).await;
    assert_eq!(store.revive_dead(&"p".parse().unwrap(), since).await.unwrap(), 2);
    for id in &ids {
        let revived = view(&store, id).await;
        assert_eq!((revived.status, revived.last_error), (Some(Status::Active), None));
    }
    assert_eq!(due(&*store, Which::Due).await.len(), 3);
}

async fn deaths_of_before_or_of_another_provider_stay() {
    let (store, ids) = with(1).await;
    let since = give_up(&store, &ids[0]).await;
    let later = since.plus(Duration::from_millis(1));
    assert_eq!(store.revive_dead(&"p".parse().unwrap(), later).await.unwrap(), 0);
    assert_eq!(store.revive_dead(&"q".parse().unwrap(), since).await.unwrap(), 0);
    assert_eq!(view(&store, &ids[0]).await.status, Some(Status::NeedsReauth));
}

async fn a_user_who_signed_in_again_is_no_disbelieved_death() {
    let (store, ids) = with(1).await;
    let since = give_up(&store, &ids[0]).await;
    store.import(vec![document(1, "signed-in-again")]).await.unwrap();
    assert_eq!(store.revive_dead(&"p".parse().unwrap(), since).await.unwrap(), 0);
    assert_eq!(store.revive_signed_in().await.unwrap(), 1);
}
