//! Tests of every [`Store`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use evergrant_document::FieldNames;
use evergrant_document::adoption::AdoptionRules;
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::{
    ClaimNote, ClaimedDocument, DocumentId, DocumentWrite, FailureKind, FieldValues, Grant,
    GrantStatus, LastError, PreviousOwner, SealedForm, Timestamp,
};
use evergrant_mongodb::MongoSettings;
use evergrant_ports::{
    ClaimResult, Commit, CommitResult, DueGrant, DueQuery, DueSelection, GrantFilter,
    ImportDocument, ImportMode, ImportResult, Store, wall_clock,
};
use futures::TryStreamExt;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::adapters::{on_each_store, store};

pub(super) const LEASE: Duration = Duration::from_secs(30);
pub(super) const NO_LEASE: Duration = Duration::from_millis(1);

on_each_store!(
    preparing_twice_is_the_same_as_once,
    a_document_without_state_is_adopted_as_due_once,
    a_lease_has_one_holder,
    claims_return_documents_in_the_requested_order,
    a_takeover_names_the_previous_owner,
    a_retried_claim_holds_what_its_first_try_took,
    a_late_claim_takes_no_settled_document,
    a_doubt_is_about_the_token_that_was_sent,
    an_ambiguous_form_is_sealed_only_in_both_tokens,
    only_its_holder_releases_a_lease,
    an_unusable_field_is_named_without_its_value,
    ids_of_every_type_are_claimed_and_written,
    new_tokens_are_written_and_the_lease_is_released,
    a_concurrent_sign_in_wins,
    a_concurrent_sign_in_does_not_wait_for_old_jobs,
    after_a_takeover_only_new_tokens_are_written,
    an_older_generation_does_not_overwrite_an_unrotated_token,
    a_rotation_is_written_after_an_answer_without_one,
    a_refresh_clears_a_postponed_grants_failures,
    an_ended_grant_is_inactive_until_reactivated,
    a_retried_commit_is_reported_as_applied,
    a_refresh_from_a_journal_makes_the_same_document,
    each_commit_of_a_group_is_independent,
    an_unreadable_document_can_be_ended_by_its_holder,
    due_grants_come_soonest_first_without_queued_ones,
    a_grant_that_was_refreshed_before_its_mark_is_not_marked,
    thousands_stream_through_each_once,
    imports_are_exported_with_unknown_fields_unchanged,
    operators_find_grants_and_never_see_a_token,
);

/// A new database on the server at `url`.
pub(crate) fn settings(url: String) -> MongoSettings {
    MongoSettings {
        url: url.into(),
        database: format!("conformance-{}", uuid::Uuid::new_v4().simple()),
        collection: "tokens".to_owned(),
        fields: FieldNames::default(),
        state_field: "evergrant".to_owned(),
        adoption: AdoptionRules::of_one("p".parse().ok()),
        selection_timeout: Duration::from_secs(5),
    }
}

pub(super) fn document(id: impl Into<Value>, token: impl Into<Value>) -> ImportDocument {
    let json =
        json!({"_id": id.into(), "userId": "u", "refresh_token": token.into(), "email": "e"});
    ImportDocument(json.as_object().unwrap().clone())
}

async fn an_ambiguous_form_is_sealed_only_in_both_tokens() {
    let store = store().await;
    // {"alg":"dir","enc":"A256GCM"} and {"alg":"RS256"}
    let encrypted =
        |content: &str| format!("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.{content}.AAAA");
    let signed = "eyJhbGciOiJSUzI1NiJ9.e30.AAAA".to_owned();
    for (id, access_token) in [(1, signed), (2, encrypted("access"))] {
        let mut document = document(id, encrypted(&format!("refresh{id}")));
        document.0.insert("access_token".to_owned(), access_token.into());
        store.import(vec![document]).await.unwrap();
    }
    store.adopt().await.unwrap();
    let ids = [DocumentId::Integer(1), DocumentId::Integer(2)];
    let rows = claim(&*store, &ids, "o").await;
    let sealed: Vec<_> = rows.iter().map(|row| grant(row).sealed).collect();
    assert_eq!(sealed, [None, Some(SealedForm::EncryptedJwt)]);
}

/// A store with the documents 1 to `count`, adopted.
pub(super) async fn with(count: i64) -> (Arc<dyn Store>, Vec<DocumentId>) {
    let store = store().await;
    let documents = (1..=count).map(|id| document(id, format!("token-{id}"))).collect();
    store.import(documents).await.unwrap();
    store.adopt().await.unwrap();
    (store, (1..=count).map(DocumentId::Integer).collect())
}

pub(super) async fn claim(
    store: &dyn Store,
    ids: &[DocumentId],
    owner: &str,
) -> Vec<ClaimedDocument> {
    claim_for(store, ids, owner, LEASE).await.rows
}

pub(super) async fn claim_for(
    store: &dyn Store,
    ids: &[DocumentId],
    owner: &str,
    lease: Duration,
) -> ClaimResult {
    store.claim(ids, owner, lease).await.unwrap()
}

pub(super) fn grant(row: &ClaimedDocument) -> &Grant {
    match row {
        ClaimedDocument::Present { grant, .. } => grant,
        other => panic!("no grant: {other:?}"),
    }
}

pub(super) fn owned(rows: &[ClaimedDocument]) -> Vec<bool> {
    rows.iter().map(ClaimedDocument::owned).collect()
}

pub(super) fn refreshed(access: &str, refresh: Option<&str>, now: Timestamp) -> DocumentWrite {
    let later = now.plus(Duration::from_secs(3_600));
    let times = RefreshTimes {
        access_expires_at: later,
        access_is_assumed: false,
        refresh_idle_until: Some(later),
        refresh_absolute_until: None,
        next_refresh_at: later,
    };
    let refresh_token = refresh.map(Into::into);
    let also = FieldValues::new();
    DocumentWrite::Refresh {
        access_token: access.into(),
        refresh_token,
        refreshed_at: now,
        times,
        also,
    }
}

pub(super) fn error(reason: FailureKind, at: Timestamp) -> LastError {
    LastError { reason, http_status: Some(400), code: Some("code".into()), description: None, at }
}

pub(super) fn postponed(now: Timestamp) -> DocumentWrite {
    DocumentWrite::Postpone {
        attempts: 3,
        in_doubt: true,
        questioned: false,
        failing_since: Some(now),
        last_error: Some(error(FailureKind::Ambiguous, now)),
        next_refresh_at: Some(now),
        queued_until: now.plus(LEASE),
    }
}

pub(super) fn ended(now: Timestamp) -> DocumentWrite {
    DocumentWrite::End {
        status: GrantStatus::NeedsReauth,
        attempts: 1,
        failing_since: now,
        last_error: error(FailureKind::GrantDead, now),
        dead_fingerprint: Some("f".into()),
    }
}

pub(super) async fn commit(
    store: &dyn Store,
    row: &ClaimedDocument,
    owner: &str,
    write: DocumentWrite,
) -> CommitResult {
    let commit = Commit::of_grant(grant(row), owner, write);
    store.commit(&[commit]).await.unwrap()[0]
}

pub(super) async fn due(store: &dyn Store, which: DueSelection) -> Vec<DueGrant> {
    let query = DueQuery { provider: "p".parse().unwrap(), which, from: None };
    store.due(query).try_collect().await.unwrap()
}

pub(super) async fn exported(store: &dyn Store) -> Vec<Value> {
    store.export().try_collect().await.unwrap()
}

async fn preparing_twice_is_the_same_as_once() {
    store().await.prepare().await.unwrap();
}

async fn a_document_without_state_is_adopted_as_due_once() {
    let store = store().await;
    store.import(vec![document(1, "t")]).await.unwrap();
    assert_eq!(store.adopt().await.unwrap(), 1);
    assert_eq!(store.adopt().await.unwrap(), 0);
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 1);
}

async fn a_lease_has_one_holder() {
    let (store, ids) = with(20).await;
    let claims = (0..8).map(|n| {
        let (store, ids) = (Arc::clone(&store), ids.clone());
        async move { claim(&*store, &ids, &format!("owner-{n}")).await }
    });
    let rows: Vec<Vec<ClaimedDocument>> = futures::future::join_all(claims).await;
    for document in 0..20 {
        let holders = rows.iter().filter(|rows| rows[document].owned()).count();
        assert_eq!(holders, 1, "document {document}");
    }
}

async fn claims_return_documents_in_the_requested_order() {
    let (store, _) = with(3).await;
    let ids = [3, 99, 1].map(DocumentId::Integer);
    let rows = claim(&*store, &ids, "o").await;
    assert_eq!(grant(&rows[0]).id, ids[0]);
    assert!(matches!(rows[1], ClaimedDocument::Absent));
    assert_eq!(grant(&rows[2]).refresh_token.expose_secret(), "token-1");
}

async fn a_takeover_names_the_previous_owner() {
    let (store, ids) = with(1).await;
    claim_for(&*store, &ids, "dead", NO_LEASE).await;
    let once = claim_in_the_end(&*store, &ids, "dead too", NO_LEASE).await;
    assert_eq!(predecessor(&once), Some(&PreviousOwner::Claim("dead".to_owned())));
    // Either may have the answer.
    let twice = claim_in_the_end(&*store, &ids, "lives", LEASE).await;
    assert_eq!(predecessor(&twice), Some(&PreviousOwner::Unknown));
}

/// Claims one document, until it succeeds.
async fn claim_in_the_end(
    store: &dyn Store,
    ids: &[DocumentId],
    owner: &str,
    lease: Duration,
) -> ClaimedDocument {
    loop {
        let row = claim_for(store, ids, owner, lease).await.rows.remove(0);
        if row.owned() {
            return row;
        }
    }
}

async fn a_retried_claim_holds_what_its_first_try_took() {
    let (store, ids) = with(2).await;
    claim_for(&*store, &ids[..1], "dead", NO_LEASE).await;
    while !claim(&*store, &ids, "claim").await[0].owned() {}
    // Its answer was lost. The takeover is remembered, and the lease does not end soon.
    let ClaimResult { now, rows } = claim_for(&*store, &ids, "claim", 2 * LEASE).await;
    assert_eq!(owned(&rows), [true, true]);
    assert_eq!(rows.iter().map(taken_over).collect::<Vec<_>>(), [true, false]);
    for row in &rows {
        let ClaimedDocument::Present { lease: Some(lease), .. } = row else {
            panic!("no lease: {row:?}")
        };
        assert!(lease.until >= now.plus(2 * LEASE), "{:?}", lease.until);
    }
    assert_eq!(owned(&claim(&*store, &ids, "another").await), [false, false]);
}

async fn a_late_claim_takes_no_settled_document() {
    let (store, ids) = with(2).await;
    let ClaimResult { now, rows } = claim_for(&*store, &ids, "claim", LEASE).await;
    let writes = [refreshed("a", Some("r"), now), postponed(now)];
    let commits: Vec<_> = rows
        .iter()
        .zip(writes)
        .map(|(row, write)| Commit::of_grant(grant(row), "claim", write))
        .collect();
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied; 2]);
    assert_eq!(owned(&claim(&*store, &ids, "claim").await), [false, false]);
    let rows = claim(&*store, &ids, "another").await;
    assert_eq!(owned(&rows), [true, true]);
    assert_eq!(rows.iter().map(taken_over).collect::<Vec<_>>(), [false, false]);
}

/// The previous owner, if it never released the lease.
fn predecessor(row: &ClaimedDocument) -> Option<&PreviousOwner> {
    let ClaimedDocument::Present { lease: Some(lease), .. } = row else { return None };
    lease.taken_over.as_ref()
}

/// Whether the lease of a row was taken over.
pub(super) fn taken_over(row: &ClaimedDocument) -> bool {
    predecessor(row).is_some()
}

async fn a_doubt_is_about_the_token_that_was_sent() {
    let (store, ids) = with(1).await;
    let rows = claim(&*store, &ids, "first").await;
    let now = store.now().await.unwrap();
    let lost = Commit::of_grant(grant(&rows[0]), "first", postponed(now));
    assert_eq!(store.commit(&[lost]).await.unwrap(), [CommitResult::Applied]);
    let rows = claim(&*store, &ids, "second").await;
    assert!(grant(&rows[0]).in_doubt);
    store.release(&ids, "second").await.unwrap();
    store.import(vec![document(1, "signed-in")]).await.unwrap();
    let rows = claim(&*store, &ids, "third").await;
    assert!(rows[0].owned() && !grant(&rows[0]).in_doubt);
}

async fn only_its_holder_releases_a_lease() {
    let (store, ids) = with(1).await;
    claim(&*store, &ids, "holder").await;
    store.release(&ids, "another").await.unwrap();
    assert_eq!(owned(&claim(&*store, &ids, "next").await), [false]);
    store.release(&ids, "holder").await.unwrap();
    let rows = claim(&*store, &ids, "next").await;
    assert!(rows[0].owned() && !taken_over(&rows[0]));
}

async fn an_unusable_field_is_named_without_its_value() {
    let store = store().await;
    let tokens = [json!(5), json!({"s3cret": "s3cret"}), json!("s3cret".repeat(200_000))];
    let documents = tokens.iter().zip(1..).map(|(token, id)| document(id, token.clone()));
    store.import(documents.collect()).await.unwrap();
    store.adopt().await.unwrap();
    let ids: Vec<_> = (1..=3).map(DocumentId::Integer).collect();
    for row in claim(&*store, &ids, "o").await {
        let ClaimedDocument::Malformed { what, owned: true, .. } = &row else { panic!("usable") };
        assert!(what.contains("refresh_token") && !what.contains("s3cret"), "{what}");
    }
}

async fn ids_of_every_type_are_claimed_and_written() {
    let store = store().await;
    let ids = [
        json!({"$oid": "65f0c0ffee65f0c0ffee65f0"}),
        json!("text"),
        json!(7),
        json!(5_000_000_000_i64),
        json!({"$uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8"}),
        json!({"$date": "2026-01-31T12:00:00Z"}),
        json!({"a": 1, "b": "c"}),
        json!(true),
        json!({"$numberDouble": "1.5"}),
    ];
    let documents = ids.iter().map(|id| document(id.clone(), id.to_string())).collect();
    store.import(documents).await.unwrap();
    store.adopt().await.unwrap();
    let found: Vec<DocumentId> =
        due(&*store, DueSelection::Due).await.into_iter().map(|due| due.id).collect();
    assert_eq!(found.len(), ids.len());
    let rows = claim(&*store, &found, "o").await;
    for row in &rows {
        let write = refreshed("a", Some("new"), wall_clock());
        assert_eq!(commit(&*store, row, "o", write).await, CommitResult::Applied, "{row:?}");
    }
}

async fn new_tokens_are_written_and_the_lease_is_released() {
    let (store, ids) = with(1).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    let write = refreshed("$access", Some("$new \"token\" ü"), claimed.now);
    assert_eq!(commit(&*store, &claimed.rows[0], "o", write).await, CommitResult::Applied);
    let rows = claim(&*store, &ids, "next").await;
    let after = grant(&rows[0]);
    assert!(rows[0].owned() && !after.in_doubt);
    assert_eq!((after.generation, after.refresh_token.expose_secret()), (1, "$new \"token\" ü"));
    assert!(due(&*store, DueSelection::Due).await.is_empty());
}

async fn a_concurrent_sign_in_wins() {
    for write in [refreshed("a", Some("late"), Timestamp::default()), ended(Timestamp::default())] {
        let (store, ids) = with(1).await;
        let rows = claim(&*store, &ids, "o").await;
        store.import(vec![document(1, "signed-in-again")]).await.unwrap();
        assert_eq!(commit(&*store, &rows[0], "o", write).await, CommitResult::Superseded);
        let rows = claim(&*store, &ids, "next").await;
        assert!(rows[0].owned(), "the lease was not given back");
        assert_eq!(grant(&rows[0]).refresh_token.expose_secret(), "signed-in-again");
        assert_eq!(grant(&rows[0]).status, GrantStatus::Active);
    }
}

async fn a_concurrent_sign_in_does_not_wait_for_old_jobs() {
    let (store, ids) = with(1).await;
    store.mark_queued(&ids, LEASE).await.unwrap();
    let rows = claim(&*store, &ids, "o").await;
    store.import(vec![document(1, "signed-in-again")]).await.unwrap();
    assert!(due(&*store, DueSelection::Due).await.is_empty(), "a job is under way");
    let write = refreshed("a", Some("late"), Timestamp::default());
    assert_eq!(commit(&*store, &rows[0], "o", write).await, CommitResult::Superseded);
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 1);
}

async fn after_a_takeover_only_new_tokens_are_written() {
    let (store, ids) = with(1).await;
    let slow = claim_for(&*store, &ids, "slow", NO_LEASE).await.rows;
    while !claim(&*store, &ids, "other").await[0].owned() {}
    let end = ended(Timestamp::default());
    assert_eq!(commit(&*store, &slow[0], "slow", end).await, CommitResult::Superseded);
    let write = refreshed("a", Some("only one alive"), Timestamp::default());
    assert_eq!(commit(&*store, &slow[0], "slow", write).await, CommitResult::Applied);
}

/// A worker died after an answer without a new refresh token, and its commit came late.
async fn a_rotation_is_written_after_an_answer_without_one() {
    let (store, ids) = with(1).await;
    let rows = claim(&*store, &ids, "o").await;
    let kept = refreshed("a", None, Timestamp::default());
    assert_eq!(commit(&*store, &rows[0], "late", kept).await, CommitResult::Applied);
    let rotated = refreshed("b", Some("rotated"), Timestamp::default());
    for _ in 0..2 {
        assert_eq!(commit(&*store, &rows[0], "o", rotated.clone()).await, CommitResult::Applied);
    }
    let rows = claim(&*store, &ids, "next").await;
    assert_eq!(grant(&rows[0]).refresh_token.expose_secret(), "rotated");
}

async fn an_older_generation_does_not_overwrite_an_unrotated_token() {
    let (store, ids) = with(1).await;
    let old = claim_for(&*store, &ids, "slow", NO_LEASE).await.rows;
    let rows = loop {
        let rows = claim(&*store, &ids, "other").await;
        if rows[0].owned() {
            break rows;
        }
    };
    let newer = refreshed("newer", None, Timestamp::default());
    assert_eq!(commit(&*store, &rows[0], "other", newer).await, CommitResult::Applied);
    let older = refreshed("older", None, Timestamp::default());
    assert_eq!(commit(&*store, &old[0], "slow", older).await, CommitResult::Superseded);
    assert_eq!(exported(&*store).await[0]["access_token"], "newer");
}

async fn a_refresh_clears_a_postponed_grants_failures() {
    let (store, ids) = with(1).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    let write = postponed(claimed.now);
    assert_eq!(commit(&*store, &claimed.rows[0], "o", write).await, CommitResult::Applied);
    let rows = claim(&*store, &ids, "next").await;
    let after = grant(&rows[0]);
    assert_eq!((after.attempts, after.in_doubt, after.generation), (3, true, 0));
    assert_eq!(after.last_error.as_ref().unwrap().reason, FailureKind::Ambiguous);
    let write = refreshed("a", Some("r"), claimed.now);
    assert_eq!(commit(&*store, &rows[0], "next", write).await, CommitResult::Applied);
    let view = store.get(&ids[0]).await.unwrap().unwrap();
    assert_eq!((view.attempts, view.in_doubt, view.last_error), (0, false, None));
}

async fn an_ended_grant_is_inactive_until_reactivated() {
    let (store, ids) = with(1).await;
    let claimed = claim_for(&*store, &ids, "doubtful", LEASE).await;
    let write = postponed(claimed.now);
    assert_eq!(commit(&*store, &claimed.rows[0], "doubtful", write).await, CommitResult::Applied);
    let rows = claim(&*store, &ids, "o").await;
    let end = ended(claimed.now);
    assert_eq!(commit(&*store, &rows[0], "o", end).await, CommitResult::Applied);
    assert!(due(&*store, DueSelection::All).await.is_empty());
    let rows = claim(&*store, &ids, "next").await;
    assert!(!rows[0].owned() && grant(&rows[0]).status == GrantStatus::NeedsReauth);

    let revived = store.reactivate(&ids[0], LEASE).await.unwrap().unwrap();
    assert_eq!(revived.generation, 0);
    let view = store.get(&ids[0]).await.unwrap().unwrap();
    assert_eq!((view.status, view.attempts, view.last_error), (Some(GrantStatus::Active), 0, None));
    assert!(view.in_doubt, "whether an answer to its token was lost is as it was");
    assert!(due(&*store, DueSelection::Due).await.is_empty(), "a job is under way");
    assert_eq!(due(&*store, DueSelection::All).await.len(), 1);
    assert!(store.reactivate(&DocumentId::Integer(404), LEASE).await.unwrap().is_none());
}

async fn a_retried_commit_is_reported_as_applied() {
    let (store, ids) = with(3).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    let writes =
        [refreshed("a", Some("r"), claimed.now), postponed(claimed.now), ended(claimed.now)];
    let commits: Vec<Commit> = claimed
        .rows
        .iter()
        .zip(writes)
        .map(|(row, write)| Commit::of_grant(grant(row), "o", write))
        .collect();
    for _ in 0..2 {
        assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied; 3]);
    }
}

async fn a_refresh_from_a_journal_makes_the_same_document() {
    let adopted = json!({
        "_id": 1, "refresh_token": "r", "evergrant": {
            "status": "active", "provider": "p", "generation": 3, "attempts": 2,
            "held_before": [5, 6], "failing_since": {"$date": "2026-01-31T12:00:00Z"},
            "of_a_later_version": {"kept": true},
        }
    });
    let adopted = ImportDocument(adopted.as_object().unwrap().clone());
    let mut made = Vec::new();
    for by_a_journal in [false, true] {
        let store = store().await;
        store.import_as(vec![adopted.clone()], ImportMode::Copy).await.unwrap();
        let rows = claim(&*store, &[DocumentId::Integer(1)], "o").await;
        let write = refreshed("a2", Some("r2"), Timestamp::default());
        let mut commit = Commit::of_grant(grant(&rows[0]), "o", write);
        if by_a_journal {
            commit.note = ClaimNote::default();
        }
        assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitResult::Applied]);
        made.extend(exported(&*store).await);
    }
    assert_eq!(made[0], made[1]);
    let state = &made[0]["evergrant"];
    assert_eq!(state["of_a_later_version"], json!({"kept": true}));
    assert_eq!(state["held_before"].as_array().map(Vec::len), Some(4));
    assert_eq!((&state["failing_since"], &state["lease"]), (&Value::Null, &Value::Null));
}

async fn each_commit_of_a_group_is_independent() {
    let (store, ids) = with(3).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    store.import(vec![document(2, "signed in again")]).await.unwrap();
    let commits: Vec<Commit> = claimed
        .rows
        .iter()
        .map(|row| Commit::of_grant(grant(row), "o", refreshed("a", Some("r"), claimed.now)))
        .collect();
    let expected = [CommitResult::Applied, CommitResult::Superseded, CommitResult::Applied];
    assert_eq!(store.commit(&commits).await.unwrap(), expected);
}

async fn an_unreadable_document_can_be_ended_by_its_holder() {
    let store = store().await;
    store.import(vec![document(1, 5)]).await.unwrap();
    store.adopt().await.unwrap();
    let ids = [DocumentId::Integer(1)];
    claim(&*store, &ids, "o").await;
    let write = ended(Timestamp::default());
    let of = |owner: &str| Commit {
        id: ids[0].clone(),
        owner: owner.to_owned(),
        generation: None,
        sent: None,
        note: ClaimNote::default(),
        write: write.clone(),
    };
    assert_eq!(store.commit(&[of("another")]).await.unwrap(), [CommitResult::Superseded]);
    assert_eq!(store.commit(&[of("o")]).await.unwrap(), [CommitResult::Applied]);
}

async fn due_grants_come_soonest_first_without_queued_ones() {
    let (store, ids) = with(5).await;
    let claimed = claim_for(&*store, &ids[..2], "o", LEASE).await;
    let early = claimed.now.minus(Duration::from_secs(3_600));
    let write = DocumentWrite::Postpone {
        attempts: 0,
        in_doubt: false,
        questioned: false,
        failing_since: None,
        last_error: None,
        next_refresh_at: Some(early),
        queued_until: early,
    };
    assert_eq!(commit(&*store, &claimed.rows[1], "o", write).await, CommitResult::Applied);
    let found: Vec<DocumentId> =
        due(&*store, DueSelection::Due).await.into_iter().map(|due| due.id).collect();
    assert_eq!((found.len(), &found[0]), (5, &ids[1]));
    store.mark_queued(&ids[..3], LEASE).await.unwrap();
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 2);
    assert_eq!(due(&*store, DueSelection::All).await.len(), 5);
    assert_eq!(due(&*store, DueSelection::User("u".into())).await.len(), 5);
    assert!(due(&*store, DueSelection::User("nobody".into())).await.is_empty());
}

async fn a_grant_that_was_refreshed_before_its_mark_is_not_marked() {
    let (store, ids) = with(2).await;
    let claimed = claim_for(&*store, &ids[..1], "o", LEASE).await;
    let write = refreshed("a", Some("r"), claimed.now);
    assert_eq!(commit(&*store, &claimed.rows[0], "o", write).await, CommitResult::Applied);
    store.mark_queued(&ids, LEASE).await.unwrap();
    let refreshed = store.get(&ids[0]).await.unwrap().unwrap();
    let still_due = store.get(&ids[1]).await.unwrap().unwrap();
    assert_eq!(refreshed.queued_until, None);
    assert!(still_due.queued_until.is_some());
}

async fn thousands_stream_through_each_once() {
    let (store, ids) = with(2_500).await;
    let found: Vec<DocumentId> =
        due(&*store, DueSelection::Due).await.into_iter().map(|due| due.id).collect();
    assert_eq!(found.len(), ids.len());
    assert_eq!(found.into_iter().collect::<HashSet<_>>(), ids.into_iter().collect());
}

async fn imports_are_exported_with_unknown_fields_unchanged() {
    let store = store().await;
    let json = json!({
        "_id": {"$oid": "65f0c0ffee65f0c0ffee65f0"}, "userId": "u", "access_token": "$a",
        "refresh_token": "r", "email": "e", "number": 5, "nested": {"list": [1, "two", null]},
        "when": {"$date": "2026-01-31T12:00:00Z"}, "big": 5_000_000_000_i64, "half": 0.5
    });
    let document = ImportDocument(json.as_object().unwrap().clone());
    store.import(vec![document.clone()]).await.unwrap();
    assert_eq!(exported(&*store).await, std::slice::from_ref(&json));

    store.adopt().await.unwrap();
    let ids: Vec<_> = due(&*store, DueSelection::All).await.into_iter().map(|due| due.id).collect();
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    let write = refreshed("a2", Some("r2"), claimed.now);
    assert_eq!(commit(&*store, &claimed.rows[0], "o", write).await, CommitResult::Applied);
    let mut after = exported(&*store).await.remove(0);
    let state = after.as_object_mut().unwrap().remove("evergrant").unwrap();
    assert_eq!(
        (&after["nested"], &after["half"], &after["when"]),
        (&json["nested"], &json["half"], &json["when"])
    );
    assert_eq!(
        (&after["refresh_token"], &state["generation"]["$numberLong"]),
        (&json!("r2"), &json!("1"))
    );

    // With overwriting, the application's fields are replaced and the state is kept.
    let again = store.import_as(vec![document], ImportMode::Overwrite).await.unwrap();
    assert_eq!(again, [ImportResult::Updated]);
    assert_eq!(store.get(&ids[0]).await.unwrap().unwrap().generation, 1);
}

async fn operators_find_grants_and_never_see_a_token() {
    let (store, ids) = with(3).await;
    let claimed = claim_for(&*store, &ids[..1], "o", LEASE).await;
    commit(&*store, &claimed.rows[0], "o", ended(claimed.now)).await;
    let list = |filter| async { store.list(filter).try_collect::<Vec<_>>().await.unwrap() };
    let dead = GrantFilter { status: Some(GrantStatus::NeedsReauth), ..GrantFilter::default() };
    assert_eq!(list(dead).await.len(), 1);
    let user = GrantFilter { user: Some("u".into()), limit: Some(2), ..GrantFilter::default() };
    assert_eq!(list(user).await.len(), 2);
    let all = list(GrantFilter::default()).await;
    assert!(!format!("{all:?}").contains("token-"));
    let findings = store.inspect().await.unwrap();
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding.ok), "{findings:?}");
}
