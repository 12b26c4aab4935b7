//! What becomes of an answer that cannot be written at once.

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
async fn an_answer_that_the_store_does_not_take_goes_to_the_rescue_queue_once_and_stays_journalled()
{
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
async fn a_rescued_answer_is_committed_by_any_worker_once_the_store_is_back() {
    let fakes = away_for(Duration::from_secs(30));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    fakes.journal.entries.lock().unwrap().clear(); // It is that of another machine.
    tokio::spawn(fakes.recovery_of(1).run());
    // Both the worker that got it and the one that found it: the store's condition makes it one.
    until(|| fakes.store.committed.lock().unwrap().len() == 2).await;
    let committed = fakes.store.committed.lock().unwrap();
    assert_eq!(committed[0].owner, committed[1].owner);
    assert!(committed.iter().all(|commit| matches!(commit.write, DocumentWrite::Refresh { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_reach_the_store_leaves_rescued_answers_to_others() {
    let fakes = away_for(Duration::from_secs(30));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    fakes.journal.entries.lock().unwrap().clear(); // It is that of another machine.
    tokio::spawn(fakes.recovery_of(1).run());
    until(|| fakes.queue.rescued.lock().unwrap().is_empty()).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    assert!(fakes.store.committed.lock().unwrap().is_empty(), "another could have it by now");
    until(|| fakes.store.committed.lock().unwrap().len() == 2).await;
    until(|| fakes.queue.rescued.lock().unwrap().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_left_goes_to_the_rescue_queue_if_who_finds_it_cannot_write() {
    let fakes = away_for(Duration::from_secs(3_600));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.journal.entries.lock().unwrap().len() == 1).await;
    let answer_recovery = fakes.recovery_of(1);
    tokio::spawn(Arc::clone(&answer_recovery).run());
    until(|| fakes.journal.entries.lock().unwrap().is_empty()).await;
    // The lane's own and the rescuer's.
    until(|| fakes.queue.rescued.lock().unwrap().len() >= 2).await;
    assert!(fakes.store.committed.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_left_in_its_journal_is_committed_and_forgotten() {
    let fakes = away_for(Duration::from_secs(1));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.journal.entries.lock().unwrap().len() == 1).await;
    let answer_recovery = fakes.recovery_of(1);
    tokio::spawn(Arc::clone(&answer_recovery).run());
    until(|| fakes.journal.entries.lock().unwrap().is_empty()).await;
    assert!(!fakes.store.committed.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_left_is_committed_while_the_broker_confirms_nothing() {
    let fakes = away_for(Duration::from_secs(20));
    fakes.queue.confirms_no_rescue.store(true, Ordering::Relaxed);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.journal.entries.lock().unwrap().len() == 1).await;
    tokio::spawn(fakes.recovery_of(1).run());
    // The lane's own and the rescuer's.
    until(|| fakes.store.committed.lock().unwrap().len() >= 2).await;
    until(|| fakes.journal.entries.lock().unwrap().is_empty()).await;
}

/// All documents are in hand of the worker `other`.
fn held() -> Fakes {
    held_for(Duration::from_secs(60))
}

fn held_for(lease: Duration) -> Fakes {
    let until = Timestamp::default().plus(lease);
    let held = Lease { owner: "other/p/1".to_owned(), until, taken_over: None };
    let store = FakeStore { held: Some(held).into(), ..FakeStore::default() };
    Fakes::new(store, FakeQueue::default())
}

/// All documents were in hand of the worker `other`, which has died and whose journal cannot be read.
fn left_unreadable() -> Fakes {
    let fakes = held_for(Duration::ZERO);
    *fakes.journal.died.lock().unwrap() = Some("other");
    fakes.journal.unreadable.store(true, Ordering::Relaxed);
    fakes
}

#[tokio::test(start_paused = true)]
async fn a_takeover_waits_for_a_journal_that_cannot_be_read() {
    let fakes = left_unreadable();
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(fakes.requests(), 0);
    fakes.journal.unreadable.store(false, Ordering::Relaxed);
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_takeover_from_a_journal_that_stays_unreadable_sends_nothing_and_asks_an_operator() {
    let fakes = left_unreadable();
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 1));
    let committed = fakes.store.committed.lock().unwrap();
    assert!(matches!(committed[0].write, DocumentWrite::End { .. }), "{:?}", committed[0].write);
    assert_eq!(fakes.queue.buried.lock().unwrap()[0].reason, DeadReason::UncommittedAnswer);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_in_a_takeover_does_not_give_the_lease_back() {
    let fakes = held_for(Duration::ZERO);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fakes.lane.stop.cancel();
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 0));
    assert!(fakes.store.committed.lock().unwrap().is_empty(), "who is next has to wait as well");
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_before_the_machine_was_suspended_sends_nothing() {
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
async fn what_a_worker_had_in_hand_that_died_on_this_machine_does_not_wait_for_its_lease() {
    let fakes = held();
    *fakes.journal.died.lock().unwrap() = Some("other");
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
    let committed = fakes.store.committed.lock().unwrap();
    // First the doubt, then what came of the exchange.
    assert!(
        matches!(committed[0].write, DocumentWrite::Postpone { .. }),
        "{:?}",
        committed[0].write
    );
    assert!(matches!(committed[1].write, DocumentWrite::Refresh { .. }));
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_left_is_written_before_what_it_had_in_hand_is_taken_over() {
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
async fn a_takeover_from_a_worker_that_left_nothing_is_at_once() {
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
async fn what_a_worker_has_in_hand_that_may_live_waits_for_its_lease() {
    let fakes = held();
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (0, 1));
    assert_eq!(fakes.queue.retried.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_takeover_waits_for_a_rescued_answer_in_hand_however_slow_the_store_is() {
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
async fn a_takeover_waits_once_more_after_the_store_was_away_for_whoever_has_the_answer() {
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
async fn a_takeover_waits_for_a_broker_that_is_known_to_have_answers_of_the_dead_worker() {
    let fakes = held_for(Duration::ZERO);
    *fakes.journal.died.lock().unwrap() = Some("other");
    fakes.journal.handed_on.store(true, Ordering::Relaxed);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(fakes.requests(), 0, "the broker is away");
    // It is back, and had no answer for this document.
    let _serving = fakes.lane.answer_log.as_ref().unwrap().recovered.serve();
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
}
