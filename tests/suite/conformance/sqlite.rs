//! Tests of the SQLite adapters only: unusual files, and processes that die.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use evergrant_document::FieldNames;
use evergrant_document::adoption::AdoptionRules;
use evergrant_domain::audit::{ActionIntent, OperatorAction};
use evergrant_domain::{ClaimedDocument, DocumentId};
use evergrant_ports::{
    DueQuery, DueSelection, DueStore, GrantAdmin, ImportDocument, JobPublisher, JobQueue,
    LeaseStore, OperationsLog, Store, StoreError, TransferStore, WorkQueue,
};
use evergrant_sqlite::{SqliteQueue, SqliteQueueSettings, SqliteStore, SqliteStoreSettings};
use futures::TryStreamExt;
use serde_json::json;

use super::adapters::ladder;
use super::queue::{job, provider};

/// A store in its own file, which is removed with this process.
pub(crate) async fn new_store() -> SqliteStore {
    let folder = tempfile::tempdir().unwrap().keep();
    SqliteStore::open(store_settings(folder.join("e.db"))).await.unwrap()
}

fn store_settings(path: PathBuf) -> SqliteStoreSettings {
    SqliteStoreSettings {
        path,
        fields: FieldNames::default(),
        state_field: "evergrant".to_owned(),
        adoption: AdoptionRules::of_one("p".parse().ok()),
    }
}

/// The settings of a store with rules of adoption, in its own file.
pub(super) fn store_settings_with(adoption: AdoptionRules) -> SqliteStoreSettings {
    let folder = tempfile::tempdir().unwrap().keep();
    SqliteStoreSettings { adoption, ..store_settings(folder.join("e.db")) }
}

/// A queue in its own file, which is removed with this process.
pub(crate) fn new_queue() -> SqliteQueue {
    let settings = SqliteQueueSettings {
        path: tempfile::tempdir().unwrap().keep().join("e.db"),
        prefix: "evergrant".to_owned(),
        providers: vec![provider()],
        shards: 2,
        ladder: ladder(),
    };
    SqliteQueue::open(settings).unwrap()
}

#[tokio::test]
async fn queues_of_former_shards_are_consumed() {
    let path = tempfile::tempdir().unwrap().keep().join("e.db");
    let of = |shards| {
        let (prefix, providers) = ("evergrant".to_owned(), vec![provider()]);
        let path = path.clone();
        let settings = SqliteQueueSettings { path, prefix, providers, shards, ladder: ladder() };
        SqliteQueue::open(settings).unwrap()
    };
    of(4).publish(&(0..40).map(job).collect::<Vec<_>>()).await.unwrap();
    let mut intake = of(1).consume(&provider(), None, 100).await.unwrap();
    for _ in 0..40 {
        super::queue::next(&mut *intake).await.acker.ack().await.unwrap();
    }
}

/// One row is damaged: the others are claimed, adopted and due.
#[tokio::test]
async fn an_unreadable_document_delays_no_other() {
    let path = tempfile::tempdir().unwrap().keep().join("e.db");
    let store = SqliteStore::open(store_settings(path.clone())).await.unwrap();
    store.import((1..=5).map(document).collect()).await.unwrap();
    let damage = |id: i64| {
        let sql = "UPDATE documents SET body = x'00' WHERE n = (SELECT n FROM documents ORDER BY n \
                   LIMIT 1 OFFSET ?1)";
        rusqlite::Connection::open(&path).unwrap().execute(sql, [id - 1]).unwrap()
    };
    damage(2);
    assert_eq!(store.adopt().await.map_err(|error| error.to_string()), Ok(4));
    damage(4);
    let query = DueQuery { provider: provider(), which: DueSelection::Due, from: None };
    let due: Vec<_> = store.due(query).try_collect().await.unwrap();
    let ids: Vec<_> = due.into_iter().map(|grant| grant.id).collect();
    assert_eq!(ids, [1, 3, 5].map(DocumentId::Integer));
    let claimed = store.claim(&ids, "o", Duration::from_secs(30)).await.unwrap();
    assert!(claimed.rows.iter().all(ClaimedDocument::owned));
    let refused = store.claim(&[DocumentId::Integer(4)], "o", Duration::from_secs(30)).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
}

/// A document of a user of its own.
fn document(id: i64) -> ImportDocument {
    let document = json!({"_id": id, "userId": format!("u{id}"), "refresh_token": "s3cret"});
    ImportDocument(document.as_object().unwrap().clone())
}

async fn refused(path: PathBuf) -> String {
    let opened = SqliteStore::open(store_settings(path)).await;
    let error = match opened {
        Ok(store) => store.prepare().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    error.to_string()
}

#[tokio::test]
async fn an_unusable_file_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("text.db"), "not a database, but long enough to be taken for one".repeat(99))
        .unwrap();
    assert!(refused(at("text.db")).await.contains("no SQLite file"));
    assert!(refused(at("nowhere/e.db")).await.contains("folder does not exist"));
    std::fs::create_dir(at("folder.db")).unwrap();
    assert!(refused(at("folder.db")).await.contains("cannot be opened"));

    let other = rusqlite::Connection::open(at("other.db")).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    assert!(refused(at("other.db")).await.contains("another program"));

    drop(SqliteStore::open(store_settings(at("later.db"))).await.unwrap());
    let later = rusqlite::Connection::open(at("later.db")).unwrap();
    later.pragma_update(None, "user_version", 99).unwrap();
    drop(later);
    let error = refused(at("later.db")).await;
    assert!(error.contains("version 99") && error.contains("upgrade"), "{error}");
}

/// A file of a release without a chain.
#[tokio::test]
async fn a_file_of_an_earlier_version_is_upgraded() {
    let path = tempfile::tempdir().unwrap().keep().join("e.db");
    drop(SqliteStore::open(store_settings(path.clone())).await.unwrap());
    let earlier = rusqlite::Connection::open(&path).unwrap();
    let sql =
        "DROP INDEX audit_number; ALTER TABLE audit DROP COLUMN number; DROP TABLE first_tokens;
               PRAGMA user_version = 1";
    earlier.execute_batch(sql).unwrap();
    drop(earlier);
    let store = SqliteStore::open(store_settings(path)).await.unwrap();
    let intent = ActionIntent {
        who: "ann".to_owned(),
        action: OperatorAction::Export,
        provider: None,
        document: None,
        request: serde_json::Value::Null,
        why: String::new(),
    };
    store.begin_audit(intent).await.unwrap();
    assert_eq!(store.audit_chain(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_refused_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.db");
    let store = SqliteStore::open(store_settings(path.clone())).await.unwrap();
    store.import((0..500).map(document).collect()).await.unwrap();
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8_192].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let error = refused(path).await;
    assert!(error.contains("damaged") && error.contains(".recover"), "{error}");
}

#[tokio::test]
async fn only_the_owner_reads_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.db");
    let _store = SqliteStore::open(store_settings(path.clone())).await.unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o007, 0);
}

#[tokio::test]
async fn field_names_may_change_between_starts() {
    let folder = tempfile::tempdir().unwrap();
    let settings = store_settings(folder.path().join("e.db"));
    let store = SqliteStore::open(settings.clone()).await.unwrap();
    store.import((1..=3).map(document).collect()).await.unwrap();
    store.adopt().await.unwrap();
    drop(store);
    let fields = FieldNames { user_id: "refresh_token".to_owned(), ..FieldNames::default() };
    let store = SqliteStore::open(SqliteStoreSettings { fields, ..settings }).await.unwrap();
    let filter =
        evergrant_ports::GrantFilter { user: Some("s3cret".to_owned()), ..Default::default() };
    let found: Vec<_> = store.list(filter).try_collect().await.unwrap();
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn a_lease_ends_with_the_process_that_holds_it() {
    const LEASE: Duration = Duration::from_secs(60);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.db");
    let store = SqliteStore::open(store_settings(path.clone())).await.unwrap();
    store.import(vec![document(1)]).await.unwrap();
    store.adopt().await.unwrap();
    let claim = async |owner| store.claim(&[DocumentId::Integer(1)], owner, LEASE).await.unwrap();
    assert!(claim("first").await.rows[0].owned());
    assert!(!claim("second").await.rows[0].owned());
    // As if another process had taken it and was killed.
    let other = rusqlite::Connection::open(path).unwrap();
    other.execute("UPDATE documents SET holder = '0123456789ab'", []).unwrap();
    drop(other);
    let row = claim("third").await.rows.remove(0);
    let ClaimedDocument::Present { lease: Some(lease), owned: true, .. } = row else {
        panic!("{row:?}")
    };
    assert!(lease.taken_over.is_some(), "whoever held it may have sent the token");
}

#[tokio::test]
async fn a_message_delivered_too_often_becomes_a_dead_letter() {
    let (queue, provider) = (new_queue(), provider());
    queue.publish(&[job(1)]).await.unwrap();
    for delivery in 1..=100 {
        let mut intake = queue.consume(&provider, None, 1).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(5), intake.next()).await;
        assert!(next.is_ok(), "delivery {delivery}");
    }
    let mut intake = queue.consume(&provider, None, 1).await.unwrap();
    let next = tokio::time::timeout(Duration::from_millis(500), intake.next()).await;
    assert!(next.is_err(), "it was delivered once more");
    let mut letters = queue.dead_letters(&provider).await.unwrap();
    let letter = letters.next().await.unwrap().unwrap();
    assert_eq!((letter.reason.as_str(), letter.id), ("delivery_limit", Some(job(1).id)));
}
