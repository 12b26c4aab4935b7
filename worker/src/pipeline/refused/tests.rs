use std::sync::atomic::Ordering;
use std::time::Duration;

use evergrant_domain::{DeadReason, DocumentId};

use crate::fakes::{FakeQueue, FakeStore, Fakes};
use crate::pipeline::claim::claim;

fn refusing(ids: &[i64]) -> FakeStore {
    let store = FakeStore::default();
    *store.refuses_claims.lock().unwrap() = ids.iter().map(|id| DocumentId::Integer(*id)).collect();
    store
}

impl Fakes {
    fn refusing(ids: &[i64]) -> Self {
        Self::new(refusing(ids), FakeQueue::default())
    }

    async fn claim(&self, ids: impl IntoIterator<Item = i64>) {
        claim(&self.lane, ids.into_iter().map(|id| self.work(id)).collect()).await;
    }

    async fn done(&self, acknowledged: u32) {
        while self.acknowledged() < acknowledged {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn letters(&self) -> Vec<(DeadReason, DocumentId)> {
        let buried = self.queue.buried.lock().unwrap();
        buried.iter().map(|letter| (letter.reason, letter.id.clone().unwrap())).collect()
    }

    fn retried(&self) -> u32 {
        self.queue.retried.load(Ordering::Relaxed)
    }
}

fn letter(id: i64) -> (DeadReason, DocumentId) {
    (DeadReason::RefusedDocument, DocumentId::Integer(id))
}

#[tokio::test(start_paused = true)]
async fn a_document_that_cannot_be_claimed_delays_no_other() {
    let fakes = Fakes::refusing(&[7]);
    fakes.claim(0..64).await;
    fakes.done(64).await;
    assert_eq!(fakes.requests(), 63);
    assert_eq!(fakes.letters(), [letter(7)]);
    // Each halving makes two calls.
    assert!(fakes.store.claims.load(Ordering::Relaxed) <= 13);
}

#[tokio::test(start_paused = true)]
async fn two_jobs_of_one_document_make_one_exchange_after_splits() {
    let fakes = Fakes::refusing(&[7]);
    fakes.claim([1, 2, 7, 1]).await;
    fakes.done(4).await;
    assert_eq!(fakes.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_documents_that_cannot_be_claimed_delay_no_other() {
    let bad: Vec<i64> = (0..32).collect();
    let fakes = Fakes::refusing(&bad);
    fakes.claim(0..64).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(fakes.requests(), 32);
}

#[tokio::test(start_paused = true)]
async fn a_refused_document_gets_one_letter_from_all_workers() {
    let fakes = Fakes::refusing(&[1]);
    for round in 1..=5 {
        fakes.claim([1, 2, 1]).await;
        fakes.done(3 * round).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(fakes.letters(), [letter(1)]);
    let others_store = refusing(&[1]);
    *others_store.leaders.lock().unwrap() =
        [("refused_document/p/1".to_owned(), "another worker".to_owned())].into();
    let other = Fakes::new(others_store, FakeQueue::default());
    other.claim([1, 2]).await;
    other.done(2).await;
    assert!(other.letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_document_is_not_claimed_with_others_again() {
    let fakes = Fakes::refusing(&[1]);
    fakes.claim([1, 2, 3]).await;
    fakes.done(3).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = fakes.store.claims.load(Ordering::Relaxed);
    fakes.claim([1, 2, 3]).await;
    fakes.done(6).await;
    assert_eq!(fakes.store.claims.load(Ordering::Relaxed) - before, 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_everything_parks_nothing() {
    let fakes = Fakes::refusing(&[1, 2, 3]);
    fakes.claim([1, 2, 3]).await;
    fakes.done(3).await;
    assert_eq!((fakes.retried(), fakes.letters().len()), (3, 0));
    fakes.store.refuses_claims.lock().unwrap().clear();
    fakes.claim([1, 2, 3]).await;
    fakes.done(6).await;
    assert_eq!((fakes.requests(), fakes.letters().len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_corrected_document_is_refreshed_and_can_be_refused_again() {
    let fakes = Fakes::refusing(&[1]);
    fakes.claim([1, 2]).await;
    fakes.done(2).await;
    fakes.store.refuses_claims.lock().unwrap().clear();
    // A job that an operator sent is tried at once.
    let mut work = fakes.work(1);
    work.job.force = true;
    claim(&fakes.lane, vec![work]).await;
    fakes.done(3).await;
    assert_eq!(fakes.requests(), 2);
    fakes.store.refuses_claims.lock().unwrap().insert(DocumentId::Integer(1));
    fakes.claim([1, 2]).await;
    fakes.done(5).await;
    assert_eq!(fakes.letters(), [letter(1), letter(1)]);
}
