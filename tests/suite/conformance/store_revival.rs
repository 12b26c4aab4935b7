//! Tests of every [`Store`] about revival: ended grants that live again.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::{
    ClaimNote, ClaimedDocument, DocumentId, DocumentWrite, FailureKind, GrantStatus, Timestamp,
};
use evergrant_ports::{Commit, CommitResult, DueSelection, GrantView, ImportDocument, Store};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::adapters::{on_each_store, store};
use super::store::{
    LEASE, claim, claim_for, commit, document, due, ended, error, grant, postponed, refreshed, with,
};

on_each_store!(
    a_new_sign_in_is_due_without_failures,
    without_a_new_sign_in_a_grant_stays_ended,
    a_failed_grant_revives_with_another_token,
    a_document_without_a_token_waits_for_one,
    a_job_without_a_token_leaves_no_failure,
    a_repaired_document_is_revived,
    a_sweep_in_small_parts_finds_all,
    a_new_grant_does_not_inherit_the_old_ones_end,
    deaths_that_are_not_believed_are_revived,
    earlier_deaths_and_other_providers_deaths_stay,
    a_new_sign_in_is_not_a_disbelieved_death,
);

/// Ends a document as dead, as a worker does, and returns when.
pub(super) async fn give_up(store: &Arc<dyn Store>, id: &DocumentId) -> Timestamp {
    let ids = std::slice::from_ref(id);
    let claimed = claim_for(&**store, ids, "o", LEASE).await;
    let token = SecretString::from(format!("token-{id}"));
    let write = match ended(claimed.now) {
        DocumentWrite::End { status, attempts, failing_since, last_error, .. } => {
            DocumentWrite::End {
                status,
                attempts,
                failing_since,
                last_error,
                dead_fingerprint: Some(fingerprint(&token)),
            }
        }
        other => other,
    };
    assert_eq!(commit(&**store, &claimed.rows[0], "o", write).await, CommitResult::Applied);
    claimed.now
}

/// A whole sweep.
pub(super) async fn sweep(store: &Arc<dyn Store>) -> u64 {
    let (mut revived, mut place) = (0, None);
    loop {
        let part = store.revive_signed_in(place, 100).await.unwrap();
        revived += part.revived;
        place = part.next;
        if place.is_none() {
            return revived;
        }
    }
}

/// The end of a grant for a reason that is not the user's fault.
fn failed(reason: FailureKind, token: Option<&SecretString>, now: Timestamp) -> DocumentWrite {
    DocumentWrite::End {
        status: GrantStatus::Failed,
        attempts: 1,
        failing_since: now,
        last_error: error(reason, now),
        dead_fingerprint: token.map(fingerprint),
    }
}

async fn view(store: &Arc<dyn Store>, id: &DocumentId) -> GrantView {
    store.get(id).await.unwrap().unwrap()
}

async fn a_new_sign_in_is_due_without_failures() {
    let (store, ids) = with(3).await;
    // In doubt, because of a failure before the end.
    let claimed = claim_for(&*store, &ids[..1], "before", LEASE).await;
    commit(&*store, &claimed.rows[0], "before", postponed(claimed.now)).await;
    give_up(&store, &ids[0]).await;
    store.import(vec![document(1, "signed-in-again")]).await.unwrap();
    assert_eq!(sweep(&store).await, 1);
    let revived = view(&store, &ids[0]).await;
    assert_eq!(revived.status, Some(GrantStatus::Active));
    assert_eq!((revived.attempts, revived.in_doubt, revived.last_error), (0, false, None));
    assert_eq!(revived.queued_until, None);
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 3);
    assert_eq!(sweep(&store).await, 0);
    assert!(claim(&*store, &ids[..1], "next").await[0].owned());
}

async fn without_a_new_sign_in_a_grant_stays_ended() {
    let (store, ids) = with(2).await;
    give_up(&store, &ids[0]).await;
    assert_eq!(sweep(&store).await, 0);
    assert_eq!(view(&store, &ids[0]).await.status, Some(GrantStatus::NeedsReauth));
    // A document without a token has no new sign-in.
    store.import(vec![document(1, serde_json::Value::Null)]).await.unwrap();
    assert_eq!(sweep(&store).await, 0);
}

async fn a_failed_grant_revives_with_another_token() {
    let (store, ids) = with(2).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    for (row, id) in claimed.rows.iter().zip(&ids) {
        let token = Some(SecretString::from(format!("token-{id}")));
        let failed = failed(FailureKind::AttemptsExhausted, token.as_ref(), claimed.now);
        commit(&*store, row, "o", failed).await;
    }
    assert_eq!(sweep(&store).await, 0);
    store.import(vec![document(1, "another")]).await.unwrap();
    assert_eq!(sweep(&store).await, 1);
    let revived = view(&store, &ids[0]).await;
    assert_eq!((revived.status, revived.last_error), (Some(GrantStatus::Active), None));
    assert_eq!(view(&store, &ids[1]).await.status, Some(GrantStatus::Failed));
}

async fn a_document_without_a_token_waits_for_one() {
    let store = store().await;
    let tokens = [Value::Null, Value::from("")];
    let documents = tokens.into_iter().zip(1..).map(|(token, id)| document(id, token));
    store.import(documents.collect()).await.unwrap();
    let without = json!({"_id": 3, "userId": "u"});
    store.import(vec![ImportDocument(without.as_object().unwrap().clone())]).await.unwrap();
    assert_eq!(store.adopt().await.unwrap(), 3);
    let ids: Vec<_> = (1..=3).map(DocumentId::Integer).collect();
    for id in &ids {
        assert_eq!(view(&store, id).await.status, Some(GrantStatus::NoToken), "{id}");
    }
    assert_eq!(due(&*store, DueSelection::All).await, []);
    assert_eq!(sweep(&store).await, 0);
    store.import(vec![document(3, "signed-in")]).await.unwrap();
    assert_eq!(sweep(&store).await, 1);
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 1);
    assert_eq!(view(&store, &ids[2]).await.status, Some(GrantStatus::Active));
}

async fn a_job_without_a_token_leaves_no_failure() {
    let (store, ids) = with(1).await;
    let claimed = claim_for(&*store, &ids, "before", LEASE).await;
    commit(&*store, &claimed.rows[0], "before", postponed(claimed.now)).await;
    store.import(vec![document(1, Value::Null)]).await.unwrap();
    let row = &claim(&*store, &ids, "o").await[0];
    assert!(matches!(row, ClaimedDocument::NoToken { owned: true }), "{row:?}");
    let commit = Commit {
        id: ids[0].clone(),
        owner: "o".to_owned(),
        generation: None,
        sent: None,
        note: ClaimNote::default(),
        write: DocumentWrite::NoToken,
    };
    assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitResult::Applied]);
    let after = view(&store, &ids[0]).await;
    assert_eq!((after.status, after.attempts), (Some(GrantStatus::NoToken), 0));
    assert_eq!((after.last_error, after.queued_until, after.leased_until), (None, None, None));
    let next = &claim(&*store, &ids, "next").await[0];
    assert!(matches!(next, ClaimedDocument::NoToken { owned: false }), "{next:?}");
}

async fn a_repaired_document_is_revived() {
    let store = store().await;
    store.import(vec![document(1, 5), document(2, 5)]).await.unwrap();
    store.adopt().await.unwrap();
    let ids: Vec<_> = (1..=2).map(DocumentId::Integer).collect();
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    let commits = ids.iter().map(|id| Commit {
        id: id.clone(),
        owner: "o".to_owned(),
        generation: None,
        sent: None,
        note: ClaimNote::default(),
        write: failed(FailureKind::Malformed, None, claimed.now),
    });
    store.commit(&commits.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(sweep(&store).await, 0);
    store.import(vec![document(2, "repaired")]).await.unwrap();
    assert_eq!(sweep(&store).await, 1);
    assert_eq!(view(&store, &ids[1]).await.status, Some(GrantStatus::Active));
    assert_eq!(view(&store, &ids[0]).await.status, Some(GrantStatus::Failed));
}

async fn a_sweep_in_small_parts_finds_all() {
    let store = store().await;
    let ids =
        [json!(1), json!("a"), json!({"$oid": "65f0c0ffee65f0c0ffee65f0"}), json!(2), json!("b")];
    let of = |id: &Value, token: &str| document(id.clone(), format!("{token} of {id}"));
    let all = |token: &str| ids.iter().map(|id| of(id, token)).collect();
    store.import(all("token")).await.unwrap();
    store.import(vec![document(3, Value::Null)]).await.unwrap();
    store.adopt().await.unwrap();
    let claimed: Vec<DocumentId> =
        due(&*store, DueSelection::Due).await.into_iter().map(|due| due.id).collect();
    let claimed = claim_for(&*store, &claimed, "o", LEASE).await;
    for (row, n) in claimed.rows.iter().zip(0..) {
        let token = &grant(row).refresh_token;
        let mut end = failed(FailureKind::AttemptsExhausted, Some(token), claimed.now);
        if let DocumentWrite::End { status, .. } = &mut end
            && n % 2 == 0
        {
            *status = GrantStatus::NeedsReauth;
        }
        commit(&*store, row, "o", end).await;
    }
    store.import(all("signed-in-again")).await.unwrap();
    store.import(vec![document(3, "signed-in")]).await.unwrap();
    let (mut revived, mut place, mut parts) = (0, None, 0);
    loop {
        let part = store.revive_signed_in(place, 2).await.unwrap();
        assert!(part.revived <= 2, "a part is bounded");
        (revived, place, parts) = (revived + part.revived, part.next, parts + 1);
        if place.is_none() {
            break;
        }
    }
    assert_eq!(revived, 6);
    assert!(parts >= 3, "{parts} parts");
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 6);
}

async fn a_new_grant_does_not_inherit_the_old_ones_end() {
    let (store, ids) = with(2).await;
    let end = claim(&*store, &ids, "first").await;
    let now = store.now().await.unwrap();
    for row in &end {
        let mut write = refreshed("access", Some("rotated"), now);
        if let DocumentWrite::Refresh { times, .. } = &mut write {
            times.refresh_absolute_until = Some(now.plus(LEASE));
            times.next_refresh_at = now;
        }
        commit(&*store, row, "first", write).await;
    }
    let rows = claim(&*store, &ids, "second").await;
    for row in &rows {
        let token = Some(&grant(row).refresh_token);
        commit(&*store, row, "second", failed(FailureKind::AttemptsExhausted, token, now)).await;
    }
    store.import(vec![document(1, "signed-in-again")]).await.unwrap();
    assert_eq!(sweep(&store).await, 1);
    store.reactivate(&ids[1], LEASE).await.unwrap();
    for id in &ids {
        assert_eq!(view(&store, id).await.refresh_absolute_until, None, "{id}");
    }
}

async fn deaths_that_are_not_believed_are_revived() {
    let (store, ids) = with(3).await;
    // In doubt, because of a failure before the end.
    let claimed = claim_for(&*store, &ids[..1], "before", LEASE).await;
    commit(&*store, &claimed.rows[0], "before", postponed(claimed.now)).await;
    let since = give_up(&store, &ids[0]).await;
    give_up(&store, &ids[1]).await;
    assert_eq!(store.revive_dead(&"p".parse().unwrap(), since).await.unwrap(), 2);
    for id in &ids {
        let revived = view(&store, id).await;
        assert_eq!((revived.status, revived.last_error), (Some(GrantStatus::Active), None));
    }
    let rows = claim(&*store, &ids, "next").await;
    assert!(grant(&rows[0]).in_doubt, "whether its answer was lost is as it was");
    assert!(!grant(&rows[1]).in_doubt);
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 3);
}

async fn earlier_deaths_and_other_providers_deaths_stay() {
    let (store, ids) = with(1).await;
    let since = give_up(&store, &ids[0]).await;
    let later = since.plus(Duration::from_millis(1));
    assert_eq!(store.revive_dead(&"p".parse().unwrap(), later).await.unwrap(), 0);
    assert_eq!(store.revive_dead(&"q".parse().unwrap(), since).await.unwrap(), 0);
    assert_eq!(view(&store, &ids[0]).await.status, Some(GrantStatus::NeedsReauth));
}

async fn a_new_sign_in_is_not_a_disbelieved_death() {
    let (store, ids) = with(1).await;
    let since = give_up(&store, &ids[0]).await;
    store.import(vec![document(1, "signed-in-again")]).await.unwrap();
    assert_eq!(store.revive_dead(&"p".parse().unwrap(), since).await.unwrap(), 0);
    assert_eq!(sweep(&store).await, 1);
}
