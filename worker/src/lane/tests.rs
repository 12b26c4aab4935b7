//! The behaviour of a lane when the store, the broker or the provider is slow or refuses.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evergrant_domain::{DocumentId, DocumentWrite, Timestamp};

use tokio::time::Instant;

use crate::fakes::{FakeQueue, FakeStore, Fakes};
use crate::pipeline::claim::claim;

#[tokio::test(start_paused = true)]
async fn a_claimed_grant_is_exchanged_committed_and_acknowledged() {
    let fakes = Fakes::new(FakeStore::default(), FakeQueue::default());
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
    let committed = fakes.store.committed.lock().unwrap();
    assert!(matches!(committed[0].write, DocumentWrite::Refresh { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_slow_claim_is_released_and_nothing_is_sent() {
    // As long as the lease: another worker may have the document by now.
    let store = FakeStore { claim_takes: Duration::from_secs(25), ..FakeStore::default() };
    let fakes = Fakes::new(store, FakeQueue::default());
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 1));
    let committed = fakes.store.committed.lock().unwrap();
    assert!(matches!(committed[0].write, DocumentWrite::Postpone { attempts: 0, .. }));
    assert_eq!(fakes.queue.retried.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_sign_in_is_scheduled_and_nothing_is_sent() {
    let signed_in_until = Some(Timestamp::from_unix_ms(3_000_000));
    let store = FakeStore { signed_in_until, ..FakeStore::default() };
    let fakes = Fakes::new(store, FakeQueue::default());
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 1));
    let committed = fakes.store.committed.lock().unwrap();
    assert!(matches!(committed[0].write, DocumentWrite::Schedule(_)));
}

#[tokio::test(start_paused = true)]
async fn a_document_with_a_foreign_host_ends_unsent() {
    let section = [("TOKEN_URL", "https://{shop}/token"), ("TOKEN_HOSTS", "[\"*.example.com\"]")];
    for (shop, requests) in [("a.example.com", 1), ("a.example.org", 0)] {
        let fields = [("shop".to_owned(), shop.to_owned())].into();
        let store = FakeStore { fields, ..FakeStore::default() };
        let fakes = Fakes::of_section(&section, store, FakeQueue::default());
        claim(&fakes.lane, vec![fakes.work(1)]).await;
        fakes.finish().await;
        assert_eq!((fakes.requests(), fakes.acknowledged()), (requests, 1), "{shop}");
        let committed = fakes.store.committed.lock().unwrap();
        let is_ended = matches!(committed[0].write, DocumentWrite::End { .. });
        assert_eq!(is_ended, requests == 0, "{shop}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_waits_for_its_permit_until_the_worker_stops() {
    let fakes = Fakes::new(FakeStore::default(), FakeQueue::default());
    let _busy = (fakes.lane.store_limiter.next().await, fakes.lane.store_limiter.next().await);
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(fakes.requests(), 0);
        fakes.lane.stop.cancel();
    };
    tokio::join!(claim(&fakes.lane, vec![fakes.work(1)]), stop);
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn two_jobs_of_one_document_in_one_batch_are_one_exchange() {
    let fakes = Fakes::new(FakeStore::default(), FakeQueue::default());
    claim(&fakes.lane, vec![fakes.work(1), fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_published_once_the_broker_accepts_it() {
    let store = FakeStore { claim_takes: Duration::from_secs(25), ..FakeStore::default() };
    let queue = FakeQueue { failures: AtomicU32::new(20), ..FakeQueue::default() };
    let fakes = Fakes::new(store, queue);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.queue.retried.load(Ordering::Relaxed), fakes.acknowledged()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rung_that_accepts_nothing_is_skipped() {
    for rung in [1, 5, 15, 60].map(Duration::from_secs) {
        let store = FakeStore { claim_takes: Duration::from_secs(25), ..FakeStore::default() };
        let queue = FakeQueue { broken_rung: Some(rung), ..FakeQueue::default() };
        let fakes = Fakes::new(store, queue);
        claim(&fakes.lane, vec![fakes.work(1)]).await;
        let began_at = Instant::now();
        fakes.finish().await;
        assert!(began_at.elapsed() < Duration::from_secs(10), "{rung:?}");
        assert_eq!((fakes.queue.retried.load(Ordering::Relaxed), fakes.acknowledged()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_no_rung_accepts_is_dropped() {
    let store = FakeStore { claim_takes: Duration::from_secs(25), ..FakeStore::default() };
    let queue = FakeQueue { failures: AtomicU32::new(u32::MAX), ..FakeQueue::default() };
    let fakes = Fakes::new(store, queue);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.queue.retried.load(Ordering::Relaxed), fakes.acknowledged()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_does_not_wait_for_a_broker_that_refuses() {
    let store = FakeStore { claim_takes: Duration::from_secs(25), ..FakeStore::default() };
    let queue = FakeQueue { failures: AtomicU32::new(u32::MAX), ..FakeQueue::default() };
    let fakes = Fakes::new(store, queue);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.lane.stop.cancel();
    fakes.finish().await;
    assert_eq!(fakes.acknowledged(), 0, "it must come again");
}

#[tokio::test(start_paused = true)]
async fn documents_that_cannot_be_committed_hold_no_flow_permit() {
    let refuses = Some(DocumentId::Integer(1)).into();
    let fakes = Fakes::new(FakeStore { refuses, ..FakeStore::default() }, FakeQueue::default());
    let places = usize::from(fakes.lane.settings.exchanges_in_flight);
    for _ in 0..2 * places {
        claim(&fakes.lane, vec![fakes.work(1)]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Its lease runs out.
        fakes.store.leases.lock().unwrap().clear();
    }
    claim(&fakes.lane, vec![fakes.work(2)]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fakes.acknowledged(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_the_store_refuses_delays_no_other() {
    let refuses = Some(DocumentId::Integer(1)).into();
    let fakes = Fakes::new(FakeStore { refuses, ..FakeStore::default() }, FakeQueue::default());
    // More refused ones than there are writers, before and between the others.
    for ids in [[1, 2, 3], [1, 4, 5], [1, 6, 7], [1, 8, 9]] {
        claim(&fakes.lane, ids.map(|id| fakes.work(id)).into()).await;
    }
    while fakes.acknowledged() < 8 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fakes.store.committed.lock().unwrap().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_long_refused_document_is_acknowledged_early_and_written_later() {
    let refuses = Some(DocumentId::Integer(1)).into();
    let fakes = Fakes::new(FakeStore { refuses, ..FakeStore::default() }, FakeQueue::default());
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(fakes.acknowledged(), 0, "the store may refuse everything");
    claim(&fakes.lane, vec![fakes.work(2)]).await;
    while fakes.acknowledged() < 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    *fakes.store.refuses.lock().unwrap() = None;
    while fakes.store.committed.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fakes.acknowledged(), 2);
}
