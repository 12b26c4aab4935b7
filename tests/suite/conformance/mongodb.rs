//! Tests of the MongoDB adapter only: documents as real applications have them, and settings that
//! rename fields.

use std::collections::BTreeSet;
use std::time::Duration;

use super::store::taken_over;
use evergrant_document::FieldNames;
use evergrant_document::adoption::AdoptionFilter;
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::{
    ClaimedDocument, DocumentId, DocumentWrite, FieldValues, Grant, GrantStatus,
};
use evergrant_mongodb::{MongoSettings, MongoStore};
use evergrant_ports::{
    Commit, CommitResult, DueGrant, DueQuery, DueSelection, DueStore, GrantAdmin, ImportDocument,
    LeaseStore, Store, TransferStore, wall_clock,
};
use evergrant_testkit::fault_proxy::FaultProxy;
use evergrant_testkit::mongodb as server;
use futures::{StreamExt, TryStreamExt};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, Regex, Uuid, doc, oid::ObjectId, raw::cstr};
use mongodb::{Client, Collection};
use secrecy::ExposeSecret;

pub(super) const LEASE: Duration = Duration::from_secs(30);
const HOUR_MS: i64 = 3_600_000;

pub(super) async fn settings() -> MongoSettings {
    super::store::settings(server::url().await)
}

/// A store, and the same collection as an application sees it.
pub(super) async fn open(settings: MongoSettings) -> (MongoStore, Collection<Document>) {
    let client = Client::with_uri_str(settings.url.expose_secret()).await.unwrap();
    let documents = client.database(&settings.database).collection(&settings.collection);
    let store = MongoStore::connect(settings).await.unwrap();
    store.prepare().await.unwrap();
    (store, documents)
}

/// An adopted document with something changed in its state.
pub(super) fn adopted(id: i32, change: Document) -> Document {
    let mut state = doc! {
        "provider": "p", "status": "active", "generation": 0_i64, "attempts": 0,
        "next_refresh_at": DateTime::from_millis(0),
    };
    state.extend(change);
    doc! { "_id": id, "userId": "u", "refresh_token": format!("s3cret-{id}"), "evergrant": state }
}

fn from_now(later_ms: i64) -> DateTime {
    DateTime::from_millis(wall_clock().unix_ms() + later_ms)
}

pub(super) fn ids(count: i64) -> Vec<DocumentId> {
    (1..=count).map(DocumentId::Integer).collect()
}

pub(super) fn grant(row: &ClaimedDocument) -> &Grant {
    match row {
        ClaimedDocument::Present { grant, .. } => grant,
        other => panic!("no grant: {other:?}"),
    }
}

fn what(row: &ClaimedDocument) -> &str {
    match row {
        ClaimedDocument::Malformed { what, .. } => what,
        other => panic!("not malformed: {other:?}"),
    }
}

pub(super) fn refreshed(refresh_token: &str) -> DocumentWrite {
    let later = wall_clock().plus(Duration::from_secs(3_600));
    DocumentWrite::Refresh {
        access_token: "access".into(),
        refresh_token: Some(refresh_token.into()),
        refreshed_at: wall_clock(),
        times: RefreshTimes {
            access_expires_at: later,
            access_is_assumed: false,
            refresh_idle_until: Some(later),
            refresh_absolute_until: None,
            next_refresh_at: later,
        },
        also: FieldValues::new(),
    }
}

async fn due(store: &MongoStore, which: DueSelection) -> Vec<DueGrant> {
    let query = DueQuery { provider: "p".parse().unwrap(), which, from: None };
    store.due(query).try_collect().await.unwrap()
}

#[tokio::test]
async fn real_applications_ids_are_claimed_and_written() {
    let (store, documents) = open(settings().await).await;
    let real = [
        Bson::ObjectId(ObjectId::new()),
        Bson::from("text"),
        Bson::Int32(1),
        Bson::Int64(2),
        Bson::Double(3.0),
        Bson::Double(4.5),
        Bson::from(Uuid::new()),
        Bson::DateTime(DateTime::from_millis(5)),
        Bson::Document(doc! { "z": 1, "a": { "b": 2_i64 } }),
        Bson::Boolean(true),
    ];
    let inserted = real.iter().map(|id| doc! { "_id": id, "refresh_token": id.to_string() });
    documents.insert_many(inserted).await.unwrap();
    assert_eq!(store.adopt().await.unwrap(), real.len() as u64);
    let found: Vec<_> =
        due(&store, DueSelection::Due).await.into_iter().map(|due| due.id).collect();
    let rows = store.claim(&found, "o", LEASE).await.unwrap().rows;
    let commits: Vec<_> =
        rows.iter().map(|row| Commit::of_grant(grant(row), "o", refreshed("new"))).collect();
    assert_eq!(store.commit(&commits).await.unwrap(), vec![CommitResult::Applied; real.len()]);
    for id in &real {
        let document = documents.find_one(doc! { "_id": id }).await.unwrap().unwrap();
        assert_eq!(document.get("_id"), Some(id), "the type of an _id has changed");
        assert_eq!(document.get_str("refresh_token").unwrap(), "new");
    }
}

#[tokio::test]
async fn an_impossible_id_names_no_document() {
    let (store, documents) = open(settings().await).await;
    documents.insert_one(adopted(1, doc! {})).await.unwrap();
    let strange = [
        r#"{"$regularExpression":{"pattern":".*","options":""}}"#,
        r#"{"$gt":{"$minKey":1}}"#,
        r#"{"$oid":5}"#,
    ]
    .map(|json| DocumentId::Other(json.to_owned()));
    let mut all = strange.to_vec();
    all.push(DocumentId::Integer(1));
    let rows = store.claim(&all, "o", LEASE).await.unwrap().rows;
    assert!(rows[..3].iter().all(|row| matches!(row, ClaimedDocument::Absent)), "{rows:?}");
    assert!(rows[3].owned());
    let commit =
        Commit { id: all[0].clone(), ..Commit::of_grant(grant(&rows[3]), "o", refreshed("new")) };
    assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitResult::Superseded]);
    store.release(&strange, "o").await.unwrap();
    store.mark_queued(&strange, LEASE).await.unwrap();
    assert_eq!(store.get(&strange[0]).await.unwrap(), None);
    assert_eq!(store.reactivate(&strange[0], LEASE).await.unwrap(), None);
}

#[tokio::test]
async fn a_malformed_state_is_named_and_affects_no_other() {
    let (store, documents) = open(settings().await).await;
    let wrong = [
        (doc! { "generation": "s3cret" }, "evergrant.generation is a string"),
        (doc! { "provider": "S3CRET!" }, "evergrant.provider is not a valid provider"),
        (doc! { "in_doubt": 5 }, "evergrant.in_doubt is a number"),
        (doc! { "failing_since": ["s3cret"] }, "evergrant.failing_since is an array"),
        (doc! { "next_refresh_at": { "s3cret": 1 } }, "evergrant.next_refresh_at is an object"),
    ];
    let bad = wrong.iter().zip(1..).map(|((change, _), id)| adopted(id, change.clone()));
    documents.insert_many(bad).await.unwrap();
    // A malformed lease is no lease, but somebody held it.
    for (id, lease) in [(6, Bson::from("s3cret")), (7, Bson::from(doc! { "until": "s3cret" }))] {
        documents.insert_one(adopted(id, doc! { "lease": lease })).await.unwrap();
    }
    documents.insert_one(adopted(8, doc! {})).await.unwrap();
    let rows = store.claim(&ids(8), "o", LEASE).await.unwrap().rows;
    assert!(rows.iter().all(ClaimedDocument::owned), "{rows:?}");
    for (row, (_, expected)) in rows.iter().zip(&wrong) {
        assert!(what(row).contains(expected), "{row:?}");
    }
    assert_eq!([5, 6, 7].map(|row| taken_over(&rows[row])), [true, true, false]);
    let shown = format!("{rows:?}").to_lowercase();
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn a_lease_ends_by_the_servers_clock() {
    let (store, documents) = open(settings().await).await;
    let held = |later_ms| doc! { "lease": { "owner": "other", "until": from_now(later_ms) } };
    let leases = [adopted(1, held(-HOUR_MS)), adopted(2, held(HOUR_MS)), adopted(3, doc! {})];
    documents.insert_many(leases).await.unwrap();
    let claimed = store.claim(&ids(3), "o", LEASE).await.unwrap();
    let owned: Vec<_> = claimed.rows.iter().map(ClaimedDocument::owned).collect();
    assert_eq!(owned, [true, false, true]);
    let ClaimedDocument::Present { lease: Some(lease), .. } = &claimed.rows[0] else {
        panic!("no lease")
    };
    assert_eq!(lease.until, claimed.now.plus(LEASE));
    assert_eq!([0, 2].map(|row| taken_over(&claimed.rows[row])), [true, false]);
}

#[tokio::test]
async fn documents_without_times_are_due() {
    let (store, documents) = open(settings().await).await;
    let states = [
        doc! { "next_refresh_at": null },
        doc! { "next_refresh_at": "soon" },
        doc! { "queued_until": from_now(-HOUR_MS) },
        doc! { "queued_until": from_now(HOUR_MS) },
        doc! { "next_refresh_at": from_now(HOUR_MS) },
        doc! { "status": "paused" },
        doc! { "provider": "another" },
    ];
    let all = states.into_iter().zip(1..).map(|(state, id)| adopted(id, state));
    documents.insert_many(all).await.unwrap();
    let mut found: Vec<_> =
        due(&store, DueSelection::Due).await.into_iter().map(|due| due.id).collect();
    found.sort();
    assert_eq!(found, ids(3));
    assert_eq!(due(&store, DueSelection::All).await.len(), 5);
}

#[tokio::test]
async fn a_user_is_found_by_a_number_too() {
    let (store, documents) = open(settings().await).await;
    for (id, user) in [(1, Bson::from("42")), (2, Bson::Int32(42)), (3, Bson::Double(42.0))] {
        let mut document = adopted(id, doc! {});
        document.insert("userId", user);
        documents.insert_one(document).await.unwrap();
    }
    assert_eq!(due(&store, DueSelection::User("42".into())).await.len(), 3);
}

#[tokio::test]
async fn an_interrupted_cursor_continues_where_it_stopped() {
    const COUNT: i32 = 3_500;
    const BEFORE_THE_CUT: usize = 10;
    let way = FaultProxy::to(&server::url().await);
    let settings = MongoSettings { url: way.url().into(), ..settings().await };
    let (store, documents) = open(settings).await;
    let all = (0..COUNT)
        .map(|id| adopted(id, doc! { "next_refresh_at": DateTime::from_millis(i64::from(id)) }));
    documents.insert_many(all).await.unwrap();

    let query = DueQuery { provider: "p".parse().unwrap(), which: DueSelection::All, from: None };
    let mut reading = store.due(query);
    let mut found = Vec::new();
    for _ in 0..BEFORE_THE_CUT {
        found.push(reading.next().await.unwrap().unwrap().id);
    }
    way.cut();
    while let Some(grant) = reading.next().await {
        found.push(grant.unwrap().id);
    }
    assert!(found.is_sorted(), "not soonest first");
    assert!(found.len() < COUNT as usize + 10, "it began again: {}", found.len());
    found.dedup();
    assert_eq!(found.len(), COUNT as usize);
}

#[tokio::test]
async fn names_are_the_applications_choice() {
    let fields = FieldNames {
        user_id: "user.id".to_owned(),
        access_token: "tokens.access".to_owned(),
        refresh_token: "tokens.refresh".to_owned(),
        email: "user.mail".to_owned(),
        ..FieldNames::default()
    };
    let settings =
        MongoSettings { fields, state_field: "meta.grant".to_owned(), ..settings().await };
    let (store, documents) = open(settings).await;
    let document = doc! {
        "_id": 1, "user": { "id": 7, "mail": "a@b", "kept": true }, "meta": { "kept": true },
        "tokens": { "access": "a", "refresh": "old", "kept": true },
    };
    documents.insert_one(document).await.unwrap();
    assert_eq!(store.adopt().await.unwrap(), 1);
    let found = due(&store, DueSelection::User("7".into())).await;
    assert_eq!(found.len(), 1);
    let rows = store.claim(&ids(1), "o", LEASE).await.unwrap().rows;
    assert_eq!(grant(&rows[0]).refresh_token.expose_secret(), "old");
    let commit = Commit::of_grant(grant(&rows[0]), "o", refreshed("new"));
    assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitResult::Applied]);
    let view = store.get(&ids(1)[0]).await.unwrap().unwrap();
    assert_eq!((view.user.as_deref(), view.email.as_deref()), (Some("7"), Some("a@b")));
    assert_eq!((view.generation, view.leased_until), (1, None));
    let after = documents.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(
        after.get_document("tokens").unwrap(),
        &doc! { "access": "access", "refresh": "new", "kept": true }
    );
    assert!(after.get_document("meta").unwrap().get_bool("kept").unwrap());
}

#[tokio::test]
async fn adoption_keeps_existing_state() {
    let (store, documents) = open(settings().await).await;
    let state = doc! { "provider": "p", "note": "kept" };
    let document = doc! { "_id": 1, "refresh_token": "r", "evergrant": state };
    documents.insert_one(document).await.unwrap();
    assert_eq!(store.adopt().await.unwrap(), 1);
    assert_eq!(store.adopt().await.unwrap(), 0);
    let first = documents.find_one(doc! { "_id": 1 }).await.unwrap().unwrap();
    assert_eq!(first.get_document("evergrant").unwrap().get_str("note").unwrap(), "kept");
}

#[tokio::test]
async fn a_rejected_filter_is_reported_at_the_start() {
    let filter = AdoptionFilter::read(r#"{"a": {"$unheardOf": 1}}"#, "evergrant").unwrap();
    let mut settings = settings().await;
    settings.adoption.filter = Some(filter);
    let store = MongoStore::connect(settings).await.unwrap();
    let error = store.prepare().await.unwrap_err().to_string();
    assert!(error.contains("store.filter"), "{error}");
}

#[tokio::test]
async fn a_paused_grant_is_left_alone() {
    let (store, documents) = open(settings().await).await;
    documents.insert_one(adopted(1, doc! { "status": "paused" })).await.unwrap();
    assert_eq!(store.reactivate(&ids(1)[0], LEASE).await.unwrap(), None);
    let view = store.get(&ids(1)[0]).await.unwrap().unwrap();
    assert_eq!(view.status, Some(GrantStatus::Paused));
    let rows = store.claim(&ids(1), "o", LEASE).await.unwrap().rows;
    assert!(!rows[0].owned());
}

#[tokio::test]
async fn an_imported_document_keeps_the_order_and_the_names_of_its_fields() {
    let (store, documents) = open(settings().await).await;
    let json = r#"{"_id":1,"z":1,"a.b":"$x","m":{"y":1,"b":{"$numberLong":"2"}},"a":[]}"#;
    let document = serde_json::from_str(json).unwrap();
    store.import(vec![ImportDocument(document)]).await.unwrap();
    let stored = documents.find_one(doc! {}).await.unwrap().unwrap();
    let expected = doc! { "_id": 1, "z": 1, "a.b": "$x", "m": { "y": 1, "b": 2_i64 }, "a": [] };
    assert_eq!(format!("{stored:?}"), format!("{expected:?}"));
    let exported: Vec<_> = store.export().try_collect().await.unwrap();
    assert_eq!(exported[0].to_string(), json);
}

/// Values of all types that an application may keep beside its tokens.
fn of_every_type(id: i32) -> Document {
    let mut document = adopted(id, doc! { "of_another": { "b": 1, "a": [1_i64, { "x": 1.0 }] } });
    document.insert("refresh_token", format!("$userId-{id}"));
    document.extend(doc! {
        "z": "$$ROOT", "nothing": null,
        "decimal": "1.50".parse::<mongodb::bson::Decimal128>().unwrap(),
        "long": 5_i64, "int": 5, "whole": 5.0, "empty": {}, "none": [], "yes": true,
        "binary": Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 1] },
        "when": DateTime::from_millis(5), "id": ObjectId::new(),
        "stamp": mongodb::bson::Timestamp { time: 1, increment: 2 },
        "pattern": Regex { pattern: cstr!("^a").into(), options: cstr!("i").into() },
        "a": { "y": 1, "b": [{ "z": 1, "a": 2 }] },
    });
    document
}

#[tokio::test]
async fn fields_that_operators_refuse_do_not_block_commits() {
    let fields =
        FieldNames { access_token: "tokens.access.value".to_owned(), ..FieldNames::default() };
    let (store, documents) = open(MongoSettings { fields, ..settings().await }).await;
    let mut null = adopted(1, doc! {});
    null.insert("tokens", doc! { "access": null, "kept": true });
    let wrong = ["text".into(), Bson::Null].map(|marks| doc! { "held_before": marks });
    let wrong = wrong.into_iter().zip(2..).map(|(marks, id)| adopted(id, marks));
    documents.insert_many(std::iter::once(null).chain(wrong)).await.unwrap();
    let rows = store.claim(&ids(3), "o", LEASE).await.unwrap().rows;
    let commit = |row| Commit::of_grant(grant(row), "o", refreshed("new"));
    let commits: Vec<_> = rows.iter().map(commit).collect();
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied; 3]);
    let after: Vec<Document> = documents.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    let expected = doc! { "access": { "value": "access" }, "kept": true };
    assert_eq!(after[0].get_document("tokens").unwrap(), &expected);
    for document in &after {
        assert_eq!(document.get_str("refresh_token").unwrap(), "new");
        let state = document.get_document("evergrant").unwrap();
        assert_eq!(state.get_array("held_before").unwrap().len(), 3);
    }
}

/// Fields that a first refresh changes, and that it adds.
const CHANGED: [&str; 2] = ["generation", "next_refresh_at"];
const NEW: [&str; 5] =
    ["access_expires_at", "held_before", "refresh_idle_until", "refreshed_at", "settled_by"];

#[tokio::test]
async fn a_commit_leaves_the_applications_fields_unchanged() {
    let (store, documents) = open(settings().await).await;
    documents.insert_many((1..=3).map(of_every_type)).await.unwrap();
    let before: Vec<Document> = documents.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    let rows = store.claim(&ids(2), "$o", LEASE).await.unwrap().rows;
    let commits = [1, 2].map(|id| {
        let row = grant(&rows[id - 1]);
        Commit::of_grant(row, "$o", refreshed(&format!("$access_token-{id}")))
    });
    assert_eq!(store.commit(&commits).await.unwrap(), [CommitResult::Applied; 2]);
    let after: Vec<Document> = documents.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    for (place, mut before) in before.into_iter().enumerate() {
        if place < commits.len() {
            before.insert("refresh_token", format!("$access_token-{}", place + 1));
            before.insert("access_token", "access");
            let written = after[place].get_document("evergrant").unwrap();
            let state = before.get_document_mut("evergrant").unwrap();
            let before_len = state.len();
            // New fields come last, in the server's order: MongoDB's is alphabetical.
            for (field, value) in written {
                if !state.contains_key(field) || CHANGED.contains(&field.as_str()) {
                    state.insert(field, value.clone());
                }
            }
            let new: BTreeSet<_> = state.keys().map(String::as_str).collect();
            assert!(NEW.iter().all(|field| new.contains(field)), "{new:?}");
            assert_eq!(state.len(), before_len + NEW.len());
        }
        assert_eq!(format!("{:?}", after[place]), format!("{before:?}"));
    }
}
