//! The safeguards of an answer that cannot be written at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evergrant_domain::decide::RESCUE_DELAY;
use evergrant_domain::{DeadReason, DocumentId, DocumentWrite, Lease, Timestamp};
use evergrant_ports::StoreClock;

use crate::fakes::{FakeQueue, FakeStore, Fakes, away_for, until};
use crate::pipeline::claim::claim;

#[tokio::test(start_paused = true)]
async fn an_answer_is_in_the_journal_until_it_is_written() {
    let fakes = away_for(Duration::from_secs(1));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.journal.entries.lock().unwrap().len() == 1).await;
    assert!(fakes.store.committed.lock().unwrap().is_empty());
    fakes.finish().await;
    assert!(fakes.journal.entries.lock().unwrap().is_empty());
    assert!(fakes.queue.rescued.lock().unwrap().is_empty(), "the store was back in time");
}

#[tokio::test(start_paused = true)]
async fn an_unwritten_answer_is_rescued_once_and_stays_journalled() {
    let fakes = away_for(Duration::from_secs(30));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    assert_eq!(fakes.journal.entries.lock().unwrap().len(), 1, "it is not written");
    assert_eq!(fakes.acknowledged(), 0);
    fakes.finish().await;
    assert!(fakes.journal.entries.lock().unwrap().is_empty());
    assert_eq!((fakes.queue.rescued.lock().unwrap().len(), fakes.acknowledged()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn any_worker_commits_a_rescued_answer_once_the_store_answers() {
    let fakes = away_for(Duration::from_secs(30));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    fakes.journal.entries.lock().unwrap().clear(); // The answering worker is on another machine.
    tokio::spawn(fakes.recovery_of(1).run());
    // The worker that got the answer and the one that found it both commit; the store's condition
    // applies one.
    until(|| fakes.store.committed.lock().unwrap().len() == 2).await;
    let committed = fakes.store.committed.lock().unwrap();
    assert_eq!(committed[0].owner, committed[1].owner);
    assert!(committed.iter().all(|commit| matches!(commit.write, DocumentWrite::Refresh { .. })));
}

#[tokio::test(start_paused = true)]
async fn without_the_store_a_worker_leaves_rescued_answers_to_others() {
    let fakes = away_for(Duration::from_secs(30));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    fakes.journal.entries.lock().unwrap().clear(); // The answering worker is on another machine.
    tokio::spawn(fakes.recovery_of(1).run());
    until(|| fakes.queue.rescued.lock().unwrap().is_empty()).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    assert!(fakes.store.committed.lock().unwrap().is_empty(), "another could have it by now");
    until(|| fakes.store.committed.lock().unwrap().len() == 2).await;
    until(|| fakes.queue.rescued.lock().unwrap().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_answer_is_rescued_if_its_finder_cannot_write() {
    let fakes = away_for(Duration::from_secs(3_600));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.journal.entries.lock().unwrap().len() == 1).await;
    let answer_recovery = fakes.recovery_of(1);
    tokio::spawn(Arc::clone(&answer_recovery).run());
    until(|| fakes.journal.entries.lock().unwrap().is_empty()).await;
    // The lane's own answer and the recovered one.
    until(|| fakes.queue.rescued.lock().unwrap().len() >= 2).await;
    assert!(fakes.store.committed.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_answer_is_committed_and_forgotten() {
    let fakes = away_for(Duration::from_secs(1));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.journal.entries.lock().unwrap().len() == 1).await;
    let answer_recovery = fakes.recovery_of(1);
    tokio::spawn(Arc::clone(&answer_recovery).run());
    until(|| fakes.journal.entries.lock().unwrap().is_empty()).await;
    assert!(!fakes.store.committed.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_answer_is_committed_without_broker_confirms() {
    let fakes = away_for(Duration::from_secs(20));
    fakes.queue.confirms_no_rescue.store(true, Ordering::Relaxed);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.journal.entries.lock().unwrap().len() == 1).await;
    tokio::spawn(fakes.recovery_of(1).run());
    // The lane's own answer and the recovered one.
    until(|| fakes.store.committed.lock().unwrap().len() >= 2).await;
    until(|| fakes.journal.entries.lock().unwrap().is_empty()).await;
}

/// All documents are leased by the worker `other`.
fn held() -> Fakes {
    held_for(Duration::from_secs(60))
}

fn held_for(lease: Duration) -> Fakes {
    let until = Timestamp::default().plus(lease);
    let held = Lease { owner: "other/p/1".to_owned(), until, taken_over: None };
    let store = FakeStore { held: Some(held).into(), ..FakeStore::default() };
    Fakes::new(store, FakeQueue::default())
}

/// All documents were leased by the worker `other`, which has died and whose journal cannot be
/// read.
fn left_unreadable() -> Fakes {
    let fakes = held_for(Duration::ZERO);
    *fakes.journal.died.lock().unwrap() = Some("other");
    fakes.journal.unreadable.store(true, Ordering::Relaxed);
    fakes
}

#[tokio::test(start_paused = true)]
async fn a_takeover_waits_for_an_unreadable_journal() {
    let fakes = left_unreadable();
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(fakes.requests(), 0);
    fakes.journal.unreadable.store(false, Ordering::Relaxed);
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_takeover_with_an_unreadable_journal_asks_an_operator() {
    let fakes = left_unreadable();
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 1));
    let committed = fakes.store.committed.lock().unwrap();
    assert!(matches!(committed[0].write, DocumentWrite::End { .. }), "{:?}", committed[0].write);
    assert_eq!(fakes.queue.buried.lock().unwrap()[0].reason, DeadReason::UncommittedAnswer);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_in_a_takeover_keeps_the_lease() {
    let fakes = held_for(Duration::ZERO);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fakes.lane.stop.cancel();
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 0));
    assert!(fakes.store.committed.lock().unwrap().is_empty(), "who is next has to wait as well");
}

#[tokio::test(start_paused = true)]
async fn a_claim_from_before_a_suspend_sends_nothing() {
    let claim_takes = Duration::from_secs(1);
    let store = FakeStore { claim_takes, ..FakeStore::default() };
    let fakes = Fakes::new(store, FakeQueue::default());
    let work = vec![fakes.work(1)];
    let suspended = async {
        tokio::time::sleep(claim_takes / 2).await;
        *fakes.since_boot.lock().unwrap() += Duration::from_secs(60);
    };
    tokio::join!(claim(&fakes.lane, work), suspended);
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 1));
    assert_eq!(fakes.queue.retried.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_local_workers_lease_is_not_waited_for() {
    let fakes = held();
    *fakes.journal.died.lock().unwrap() = Some("other");
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
    let committed = fakes.store.committed.lock().unwrap();
    // The uncertainty first, then the outcome of the exchange.
    assert!(
        matches!(committed[0].write, DocumentWrite::Postpone { .. }),
        "{:?}",
        committed[0].write
    );
    assert!(matches!(committed[1].write, DocumentWrite::Refresh { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_orphaned_answer_is_written_before_the_takeover() {
    let fakes = held();
    *fakes.journal.died.lock().unwrap() = Some("other");
    fakes.journal.entries.lock().unwrap().insert(7, Vec::new());
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(fakes.requests(), 0);
    fakes.journal.entries.lock().unwrap().clear();
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_takeover_without_orphaned_answers_is_immediate() {
    let fakes = held_for(Duration::ZERO);
    *fakes.journal.died.lock().unwrap() = Some("other");
    let began = tokio::time::Instant::now();
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.requests() == 1).await;
    assert!(began.elapsed() < RESCUE_DELAY, "{:?}", began.elapsed());
    fakes.finish().await;
    assert_eq!(fakes.acknowledged(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_possibly_live_workers_lease_is_waited_for() {
    let fakes = held();
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 1));
    assert_eq!(fakes.queue.retried.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_takeover_waits_for_a_held_answer() {
    let fakes = held_for(Duration::ZERO);
    let answer = fakes.lane.answer_log.as_ref().unwrap().recovered.take(DocumentId::Integer(1));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fakes.requests(), 0);
    drop(answer);
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_takeover_waits_again_after_the_store_was_unavailable() {
    let fakes = held_for(Duration::ZERO);
    let away_for = Duration::from_secs(10);
    *fakes.store.away_for.lock().unwrap() = away_for;
    fakes.store.now().await.unwrap_err();
    let began = tokio::time::Instant::now();
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.requests() == 1).await;
    assert!(began.elapsed() >= away_for + RESCUE_DELAY, "{:?}", began.elapsed());
    fakes.finish().await;
    assert_eq!(fakes.acknowledged(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_takeover_waits_for_a_broker_that_has_the_answer() {
    let fakes = held_for(Duration::ZERO);
    *fakes.journal.died.lock().unwrap() = Some("other");
    fakes.journal.handed_on.store(true, Ordering::Relaxed);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(fakes.requests(), 0, "the broker is away");
    // The queue is consumed again and had no answer for this document.
    let _serving = fakes.lane.answer_log.as_ref().unwrap().recovered.serve();
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
}
