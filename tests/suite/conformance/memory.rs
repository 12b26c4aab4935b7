//! Tests of the memory adapters only: paused time and cut connections.

use std::time::Duration;

use evergrant_domain::{ClaimedDocument, DocumentId, Timestamp};
use evergrant_memory::{MemoryClock, MemoryStore};
use evergrant_ports::{DueStore, JobPublisher, JobQueue, StoreClock, TransferStore, WorkQueue};
use serde_json::json;

use super::adapters::memory_broker;
use super::queue::{job, next, provider};
use super::store::{LEASE, claim, document};

fn store() -> MemoryStore {
    let clock = MemoryClock::starting_at(Timestamp::from_unix_ms(1_700_000_000_000));
    MemoryStore::new(clock, "p".parse().ok())
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_ends_only_its_consumers() {
    let broker = memory_broker();
    let (cut, other) = (broker.connect(), broker.connect());
    other.publish(&[job(1)]).await.unwrap();
    let mut intake = cut.consume(&provider(), None, 10).await.unwrap();
    let mut others = other.consume(&provider(), None, 10).await.unwrap();
    let held = next(&mut *intake).await;
    cut.cut();
    assert!(intake.next().await.is_none());
    assert!(held.acker.ack().await.is_err());
    assert!(next(&mut *others).await.redelivered);
    cut.publish(&[job(2)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn consumers_take_turns() {
    let broker = memory_broker();
    let queue = broker.connect();
    let mut one = queue.consume(&provider(), Some(&[0]), 10).await.unwrap();
    let mut two = queue.consume(&provider(), Some(&[0]), 10).await.unwrap();
    queue.publish(&(0..40).map(job).collect::<Vec<_>>()).await.unwrap();
    for intake in [&mut one, &mut two] {
        let mut count = 0;
        while tokio::time::timeout(Duration::from_secs(1), intake.next()).await.is_ok() {
            count += 1;
        }
        assert!(count >= 6, "{count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_returned_a_hundred_times_is_given_up() {
    let broker = memory_broker();
    let queue = broker.connect();
    queue.publish(&[job(1)]).await.unwrap();
    for _ in 0..=100 {
        let mut intake = queue.consume(&provider(), None, 10).await.unwrap();
        next(&mut *intake).await;
        queue.cut();
    }
    assert_eq!(queue.depth(&provider()).await.unwrap(), 0);
    assert_eq!(queue.dead_letters(&provider()).await.unwrap().cutoff(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_by_the_runtimes_time() {
    let store = store();
    store.import(vec![document(1, "t")]).await.unwrap();
    store.adopt().await.unwrap();
    let ids = [DocumentId::Integer(1)];
    assert!(claim(&store, &ids, "one").await[0].owned());
    tokio::time::advance(LEASE - Duration::from_millis(1)).await;
    assert!(!claim(&store, &ids, "two").await[0].owned());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(claim(&store, &ids, "three").await[0].owned());
}

#[tokio::test(start_paused = true)]
async fn a_late_claim_shortens_or_takes_no_lease() {
    let store = store();
    store.import(vec![document(1, "t")]).await.unwrap();
    store.adopt().await.unwrap();
    let ids = [DocumentId::Integer(1)];
    let late = store.as_of(store.now().await.unwrap());
    tokio::time::advance(LEASE / 2).await;
    assert!(claim(&store, &ids, "one").await[0].owned());
    assert!(claim(&late, &ids, "one").await[0].owned());
    assert!(!claim(&late, &ids, "two").await[0].owned());
    tokio::time::advance(LEASE - Duration::from_millis(1)).await;
    assert!(!claim(&store, &ids, "two").await[0].owned());
}

#[tokio::test]
async fn a_document_is_edited_and_read_without_a_claim() {
    let store = store();
    store.import(vec![document(1, "t")]).await.unwrap();
    store.adopt().await.unwrap();
    let id = DocumentId::Integer(1);
    assert!(store.edit(&id, "evergrant.attempts", Some(json!(3))).unwrap());
    let ClaimedDocument::Present { grant, lease: None, owned: false } = store.look(&id) else {
        panic!()
    };
    assert_eq!(grant.attempts, 3);
    assert!(store.edit(&id, "refresh_token", None).unwrap());
    assert!(matches!(store.look(&id), ClaimedDocument::NoToken { .. }));
    assert!(!store.edit(&DocumentId::Integer(2), "note", None).unwrap());
}
