//! Commits and claims of the MongoDB adapter with failing commands: no grant is lost or exchanged
//! twice.

use std::collections::HashSet;
use std::sync::Arc;

use evergrant_domain::GrantStatus;
use evergrant_mongodb::{MongoSettings, MongoStore};
use evergrant_ports::{
    Commit, CommitResult, DueStore, GrantAdmin, GrantFilter, ImportDocument, ImportMode,
    LeaseStore, Store, StoreError, TransferStore, wall_clock,
};
use evergrant_testkit::mongodb as server;
use evergrant_testkit::mongodb_faults::{CommandFault, FaultEffect, FaultyWay};
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use serde_json::json;

use super::mongodb::{LEASE, adopted, grant, ids, open, refreshed, settings};
use super::store::{ended, postponed};

/// Temporary errors of a server: no primary, stepping down, shutting down, interrupted, too slow, a
/// conflict, a lost connection, one of Atlas, and an unknown one.
const PASSING: [i32; 16] =
    [6, 7, 24, 50, 89, 91, 112, 189, 262, 8_000, 9_001, 10_107, 11_600, 11_602, 13_435, 13_436];

/// A store behind a faulty proxy, the proxy, and the same collection without it.
async fn faulty() -> (Arc<MongoStore>, FaultyWay, Collection<Document>) {
    let settings = settings().await;
    let way = FaultyWay::to(&server::url().await);
    let (_, documents) = open(settings.clone()).await;
    // A server reports state changes at once; the proxy has to be polled.
    let url = format!("{}&heartbeatFrequencyMS=500", way.url());
    let (store, _) = open(MongoSettings { url: url.into(), ..settings }).await;
    (Arc::new(store), way, documents)
}

/// Claimed grants with ids from 1, and a commit of new tokens for each.
async fn claimed(store: &MongoStore, documents: &Collection<Document>, count: i32) -> Vec<Commit> {
    documents.insert_many((1..=count).map(|id| adopted(id, doc! {}))).await.unwrap();
    let rows = store.claim(&ids(count.into()), "o", LEASE).await.unwrap().rows;
    let new = |(row, id)| Commit::of_grant(grant(row), "o", refreshed(&format!("new-{id}")));
    rows.iter().zip(1..=count).map(new).collect()
}

/// Refresh tokens and generations, in the order of the ids.
async fn tokens(documents: &Collection<Document>) -> Vec<(String, i64)> {
    let found = documents.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
    let found: Vec<_> = found.try_collect().await.unwrap();
    let token = |document: &Document| {
        let state = document.get_document("evergrant").unwrap();
        let token = document.get_str("refresh_token").unwrap().to_owned();
        (token, state.get_i64("generation").unwrap())
    };
    found.iter().map(token).collect()
}

fn refreshed_once(count: i32) -> Vec<(String, i64)> {
    (1..=count).map(|id| (format!("new-{id}"), 1)).collect()
}

async fn change(documents: &Collection<Document>, id: i32, change: Document) {
    documents.update_one(doc! { "_id": id }, doc! { "$set": change }).await.unwrap();
}

fn is_passing(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. }) && !error.to_string().contains("s3cret")
}

#[tokio::test]
async fn a_server_may_count_every_document_as_modified() {
    let (store, way, documents) = faulty().await;
    way.count_all_as_modified();
    let mut commits = claimed(&store, &documents, 3).await;
    change(&documents, 2, doc! { "refresh_token": "signed-in" }).await;
    commits.push(Commit { owner: "another".to_owned(), ..commits[0].clone() });
    let expected = [
        CommitResult::Applied,
        CommitResult::Superseded,
        CommitResult::Applied,
        CommitResult::Superseded,
    ];
    assert_eq!(store.commit(&commits).await.unwrap(), expected);
    let another = store.claim(&ids(1), "late", LEASE).await.unwrap();
    assert!(another.rows[0].owned());
    let none = store.claim(&ids(1), "too late", LEASE).await.unwrap();
    assert!(!none.rows[0].owned());
}

#[tokio::test]
async fn a_commit_is_written_once_despite_any_fault() {
    let (store, way, documents) = faulty().await;
    let commits = claimed(&store, &documents, 3).await;
    let all = |fault: fn(FaultEffect, i32) -> CommandFault| {
        PASSING.into_iter().flat_map(move |code| {
            [FaultEffect::None, FaultEffect::Done].map(|effect| fault(effect, code))
        })
    };
    let of_one: fn(FaultEffect, i32) -> CommandFault = |effect, code| {
        let error = doc! { "index": 1, "code": code, "errmsg": "s3cret" };
        CommandFault::Answer(
            effect,
            doc! { "ok": 1.0, "n": 2, "nModified": 2, "writeErrors": [error] },
        )
    };
    let resets = [FaultEffect::None, FaultEffect::Done].map(CommandFault::Reset);
    let not_durable = [64, 79, 91, 100, 189, 11_602].map(CommandFault::not_durable);
    for fault in
        resets.into_iter().chain(all(CommandFault::error)).chain(all(of_one)).chain(not_durable)
    {
        way.next("update", fault);
        let error = store.commit(&commits).await.unwrap_err();
        assert!(is_passing(&error) && way.is_done(), "{error}");
    }
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied; 3]);
    assert_eq!(tokens(&documents).await, refreshed_once(3));
}

#[tokio::test]
async fn other_settlements_are_written_once_too() {
    let (store, way, documents) = faulty().await;
    let commits = claimed(&store, &documents, 2).await;
    let now = wall_clock();
    let writes = [postponed(now), ended(now)];
    let commits: Vec<_> =
        commits.into_iter().zip(writes).map(|(commit, write)| Commit { write, ..commit }).collect();
    for effect in [FaultEffect::None, FaultEffect::Done, FaultEffect::Done] {
        way.next("update", CommandFault::Reset(effect));
        assert!(is_passing(&store.commit(&commits).await.unwrap_err()));
        assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied; 2]);
    }
}

#[tokio::test]
async fn a_failed_read_back_leaves_the_commit_for_a_retry() {
    let (store, way, documents) = faulty().await;
    let commits = claimed(&store, &documents, 2).await;
    change(&documents, 2, doc! { "refresh_token": "signed-in" }).await;
    for code in PASSING {
        // The driver retries some by itself.
        way.next("find", CommandFault::error(FaultEffect::None, code));
        way.next("find", CommandFault::error(FaultEffect::Done, code));
        let error = store.commit(&commits).await.unwrap_err();
        assert!(is_passing(&error), "{code}: {error}");
        store.get(&ids(1)[0]).await.ok();
    }
    let results = store.commit(&commits).await.unwrap();
    assert_eq!(results, [CommitResult::Applied, CommitResult::Superseded]);
}

#[tokio::test]
async fn a_rejection_of_a_written_commit_is_not_believed() {
    let (store, way, documents) = faulty().await;
    let commits = claimed(&store, &documents, 3).await;
    let error = doc! { "index": 1, "code": 11_000, "errmsg": "s3cret" };
    let answer = doc! { "ok": 1.0, "n": 2, "nModified": 2, "writeErrors": [error] };
    way.next("update", CommandFault::Answer(FaultEffect::Done, answer));
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied; 3]);
    assert_eq!(tokens(&documents).await, refreshed_once(3));
}

#[tokio::test]
async fn a_pause_around_a_commit_keeps_the_new_token() {
    let (store, way, documents) = faulty().await;
    let commits = claimed(&store, &documents, 1).await;
    let set_status = |status: GrantStatus| {
        let documents = documents.clone();
        async move { change(&documents, 1, doc! { "evergrant.status": status.as_str() }).await }
    };
    // Its lease was taken over. Paused at the first try of its commit, and active when it is read.
    change(&documents, 1, doc! { "evergrant.lease.owner": "another" }).await;
    set_status(GrantStatus::Paused).await;
    way.next("update", CommandFault::meanwhile(set_status(GrantStatus::Active)));
    // Active when it is read, and paused at the next try.
    way.next("find", CommandFault::meanwhile(set_status(GrantStatus::Paused)));
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied]);
    assert!(way.is_done());
    assert_eq!(tokens(&documents).await, refreshed_once(1));
    let view = store.get(&ids(1)[0]).await.unwrap().unwrap();
    assert_eq!(view.status, Some(GrantStatus::Paused));
}

#[tokio::test]
async fn a_refresh_overwrites_no_other_writers_state() {
    let (store, way, documents) = faulty().await;
    let commits = claimed(&store, &documents, 1).await;
    let write = |part: &str, value: i32| {
        let (documents, path) = (documents.clone(), format!("evergrant.{part}"));
        async move { change(&documents, 1, doc! { path: value }).await }
    };
    // Somebody renames its section after the claim, and a later version has more fields.
    change(&documents, 1, doc! { "evergrant.provider": "renamed" }).await;
    way.next("find", CommandFault::meanwhile(write("of_a_later_version", 1)));
    way.next("find", CommandFault::meanwhile(write("of_another_version", 2)));
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied]);
    assert!(way.is_done());
    assert_eq!(tokens(&documents).await, refreshed_once(1));
    let written = documents.find_one(doc! { "_id": 1 }).await.unwrap().unwrap();
    let state = written.get_document("evergrant").unwrap();
    assert_eq!(state.get_str("provider").unwrap(), "renamed");
    assert_eq!(state.get_i32("of_a_later_version").unwrap(), 1);
    assert_eq!(state.get_i32("of_another_version").unwrap(), 2);
}

#[tokio::test]
async fn a_document_without_state_gets_its_token() {
    let (store, _, documents) = faulty().await;
    let commits = claimed(&store, &documents, 1).await;
    documents.update_one(doc! {}, doc! { "$unset": { "evergrant": "" } }).await.unwrap();
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied]);
    let written = documents.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(written.get_str("refresh_token").unwrap(), "new-1");
    store.adopt().await.unwrap();
    let view = store.get(&ids(1)[0]).await.unwrap().unwrap();
    assert_eq!((view.status, view.provider.is_some()), (Some(GrantStatus::Active), true));
}

#[tokio::test]
async fn a_claim_is_made_once_despite_any_fault() {
    let (store, way, documents) = faulty().await;
    documents.insert_many((1..=2).map(|id| adopted(id, doc! {}))).await.unwrap();
    let errors = PASSING.into_iter().flat_map(|code| {
        [FaultEffect::None, FaultEffect::Done].map(|effect| CommandFault::error(effect, code))
    });
    let resets = [FaultEffect::None, FaultEffect::Done].map(CommandFault::Reset);
    for fault in errors.chain(resets).chain([64, 91].map(CommandFault::not_durable)) {
        way.next("update", fault);
        // The driver's own retry may succeed.
        match store.claim(&ids(2), "o", LEASE).await {
            Ok(claimed) => assert!(claimed.rows.iter().all(|row| row.owned())),
            Err(error) => assert!(is_passing(&error), "{error}"),
        }
        assert!(way.is_done());
        let another = store.claim(&ids(2), "o", LEASE).await.unwrap();
        assert!(another.rows.iter().all(|row| row.owned()));
        let another = store.claim(&ids(2), "another", LEASE).await.unwrap();
        assert!(!another.rows.iter().any(|row| row.owned()), "claimed twice");
    }
}

#[tokio::test]
async fn a_lost_cursor_continues_after_the_last_document() {
    const COUNT: i32 = 400;
    let (store, way, documents) = faulty().await;
    // Ids of several types: the server compares within a type.
    let mixed = (0..COUNT).map(|id| match id % 2 {
        0 => adopted(id, doc! {}),
        _ => doc! { "_id": format!("{id:04}"), "refresh_token": "r", "evergrant": {} },
    });
    documents.insert_many(mixed).await.unwrap();
    let gone = || way.next("getMore", CommandFault::error(FaultEffect::None, 43));
    gone();
    let exported: Vec<_> = store.export().try_collect().await.unwrap();
    assert!(way.is_done());
    let ids: HashSet<_> = exported.iter().map(|document| document["_id"].to_string()).collect();
    assert_eq!((exported.len(), ids.len()), (COUNT as usize, COUNT as usize));
    for _ in 0..2 {
        gone();
    }
    let limit = Some(350);
    let filter = GrantFilter { limit, ..GrantFilter::default() };
    let listed: Vec<_> = store.list(filter).try_collect().await.unwrap();
    assert!(way.is_done());
    let ids: HashSet<_> = listed.iter().map(|grant| grant.id.clone()).collect();
    assert_eq!((listed.len(), ids.len()), (350, 350));
}

#[tokio::test]
async fn a_server_without_a_clock_is_refused() {
    let (store, way, _) = faulty().await;
    way.next("update", CommandFault::error(FaultEffect::None, 9));
    let error = store.prepare().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Refused { .. }), "{text}");
    for part in ["MongoDB", "$$NOW", "error 9", "docs/servers.md"] {
        assert!(text.contains(part), "{text}");
    }
    let findings = store.inspect().await.unwrap();
    let server = &findings[0];
    assert!(
        server.ok && server.what == "MongoDB" && server.detail.contains("MongoDB"),
        "{server:?}"
    );
}

#[tokio::test]
async fn a_sharded_clusters_document_count_is_not_believed() {
    let (store, way, documents) = faulty().await;
    let commits = claimed(&store, &documents, 2).await;
    change(&documents, 2, doc! { "refresh_token": "signed-in" }).await;
    way.always("hello", doc! { "msg": "isdbgrid" });
    // One of them is found twice, at its old and its new shard.
    way.next("update", CommandFault::Also(doc! { "n": 2 }));
    let expected = [CommitResult::Applied, CommitResult::Superseded];
    assert_eq!(store.commit(&commits).await.unwrap(), expected);
    assert!(way.is_done());
    let lines = [1, 2].map(|id| json!({ "_id": id, "refresh_token": format!("imported-{id}") }));
    let lines = lines.map(|line| ImportDocument(line.as_object().unwrap().clone()));
    // Another writer is faster with one, and the other is found twice.
    let meanwhile = documents.clone();
    way.next(
        "find",
        CommandFault::meanwhile(async move {
            change(&meanwhile, 1, doc! { "refresh_token": "faster" }).await;
        }),
    );
    for n in [0, 2] {
        way.next("update", CommandFault::Also(doc! { "n": n }));
    }
    store.import_as(lines.into(), ImportMode::Overwrite).await.unwrap();
    let after: Vec<_> = tokens(&documents).await.into_iter().map(|(token, _)| token).collect();
    assert_eq!(after, ["imported-1", "imported-2"]);
}
