//! What becomes of an answer that cannot be written at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evergrant_shared::domain::decide::RESCUE_FIRST;
use evergrant_shared::domain::fingerprint::fingerprint;
use evergrant_shared::domain::marks::Remembers;
use evergrant_shared::domain::schedule::Times;
use evergrant_shared::domain::{DeadReason, DocumentId, Lease, SealedAnswer, Timestamp, Write};
use evergrant_shared::ports::Commit;
use evergrant_shared::rescue::UnreadAnswer;

use crate::claim::claim;
use crate::fakes::{FakeQueue, FakeStore, Fakes, sealer};

fn away_for(away_for: Duration) -> Fakes {
    let away_for = away_for.into();
    Fakes::new(FakeStore { away_for, ..FakeStore::default() }, FakeQueue::default())
}

async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

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
    tokio::spawn(fakes.rescuer(1).run());
    // Both the worker that got it and the one that found it: the store's condition makes it one.
    until(|| fakes.store.committed.lock().unwrap().len() == 2).await;
    let committed = fakes.store.committed.lock().unwrap();
    assert_eq!(committed[0].owner, committed[1].owner);
    assert!(committed.iter().all(|commit| matches!(commit.write, Write::Refresh { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_reach_the_store_leaves_rescued_answers_to_others() {
    let fakes = away_for(Duration::from_secs(30));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    fakes.journal.entries.lock().unwrap().clear(); // It is that of another machine.
    tokio::spawn(fakes.rescuer(1).run());
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
    let rescuer = fakes.rescuer(1);
    tokio::spawn(Arc::clone(&rescuer).run());
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
    let rescuer = fakes.rescuer(1);
    tokio::spawn(Arc::clone(&rescuer).run());
    until(|| fakes.journal.entries.lock().unwrap().is_empty()).await;
    assert!(!fakes.store.committed.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_left_is_committed_while_the_broker_confirms_nothing() {
    let fakes = away_for(Duration::from_secs(20));
    fakes.queue.confirms_no_rescue.store(true, Ordering::Relaxed);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.journal.entries.lock().unwrap().len() == 1).await;
    tokio::spawn(fakes.rescuer(1).run());
    // The lane's own and the rescuer's.
    until(|| fakes.store.committed.lock().unwrap().len() >= 2).await;
    until(|| fakes.journal.entries.lock().unwrap().is_empty()).await;
}

/// Fakes with an answer in the rescue queue that the worker whose key is 1 has sealed.
fn rescued() -> (Fakes, SealedAnswer) {
    let fakes = Fakes::new(FakeStore::default(), FakeQueue::default());
    let at = Timestamp::default();
    let times = Times {
        access_expires_at: at,
        refresh_idle_until: None,
        refresh_absolute_until: None,
        next_refresh_at: at,
    };
    let write = Write::Refresh {
        access_token: "new-access".into(),
        refresh_token: Some("new".into()),
        refreshed_at: at,
        times,
    };
    let commit = Commit {
        id: DocumentId::Integer(1),
        owner: "dead/p/1".to_owned(),
        generation: Some(0),
        sent: Some("token".into()),
        remembers: Remembers::Others,
        write,
    };
    let answer = sealer(1).seal(&"p".parse().unwrap(), &commit, at).unwrap();
    fakes.queue.rescued.lock().unwrap().push(answer.clone());
    (fakes, answer)
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_key_waits_for_a_worker_that_has_it_with_its_document_out_of_reach() {
    let (fakes, _) = rescued();
    let without_the_key = tokio::spawn(fakes.rescuer(2).run());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let spent = fingerprint(&"token".into());
    assert_eq!(*fakes.store.withheld.lock().unwrap(), [(DocumentId::Integer(1), spent)]);
    assert!(fakes.queue.buried.lock().unwrap().is_empty(), "another worker may have the key");
    // Of two consumers it would be chance who is the next.
    without_the_key.abort();
    tokio::spawn(fakes.rescuer(1).run());
    until(|| fakes.store.committed.lock().unwrap().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fakes.queue.buried.lock().unwrap().is_empty(), "it is written");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_can_open_for_minutes_becomes_a_dead_letter_and_is_kept_whole() {
    let (fakes, sealed) = rescued();
    tokio::spawn(fakes.rescuer(2).run());
    until(|| !fakes.queue.buried.lock().unwrap().is_empty()).await;
    assert_eq!(fakes.store.withheld.lock().unwrap().len(), 1);
    let letter = fakes.queue.buried.lock().unwrap()[0].clone();
    assert_eq!(letter.reason, DeadReason::UncommittedAnswer);
    let kept = SealedAnswer::decode(&letter.body).unwrap();
    assert_eq!(SealedAnswer { passes: 0, ..kept }, sealed);
    let why = letter.description.unwrap();
    assert!(why.contains(&sealed.key) && why.contains("rescue.old_keys"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_key_is_kept_as_long_as_its_document_cannot_be_put_out_of_reach() {
    let (fakes, _) = rescued();
    *fakes.store.away_for.lock().unwrap() = Duration::from_secs(1_200);
    tokio::spawn(fakes.rescuer(2).run());
    tokio::time::sleep(Duration::from_secs(1_100)).await;
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
    until(|| fakes.store.withheld.lock().unwrap().len() == 1).await;
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_document_is_put_out_of_reach_within_seconds_though_a_call_is_never_answered() {
    let (fakes, _) = rescued();
    fakes.store.unanswered.store(2, Ordering::Relaxed);
    tokio::spawn(fakes.rescuer(2).run());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fakes.store.withheld.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_key_is_forgotten_if_its_document_has_moved_on() {
    let (fakes, _) = rescued();
    fakes.store.moved_on.store(true, Ordering::Relaxed);
    tokio::spawn(fakes.rescuer(2).run());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fakes.queue.rescued.lock().unwrap().is_empty());
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_store_refuses_is_tried_for_minutes_with_its_document_out_of_reach() {
    let (fakes, _) = rescued();
    *fakes.store.refuses.lock().unwrap() = Some(DocumentId::Integer(1));
    tokio::spawn(fakes.rescuer(1).run());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(fakes.store.withheld.lock().unwrap().len(), 1);
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
    *fakes.store.refuses.lock().unwrap() = None;
    until(|| fakes.store.committed.lock().unwrap().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fakes.queue.buried.lock().unwrap().is_empty(), "the rule was mended");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_store_refuses_for_good_becomes_a_dead_letter() {
    let (fakes, _) = rescued();
    *fakes.store.refuses.lock().unwrap() = Some(DocumentId::Integer(1));
    tokio::spawn(fakes.rescuer(1).run());
    until(|| fakes.queue.buried.lock().unwrap().len() == 1).await;
    assert_eq!(fakes.queue.buried.lock().unwrap()[0].reason, DeadReason::UncommittedAnswer);
    assert_eq!(fakes.store.withheld.lock().unwrap().len(), 1);
}

const NESTED: &str = r#"{"status":0,"body":{"access_token":"a","refresh_token":"new"}}"#;

#[tokio::test(start_paused = true)]
async fn a_success_that_cannot_be_read_is_kept_sealed_with_its_document_out_of_reach() {
    let fakes = Fakes::new(FakeStore::default(), FakeQueue::default());
    *fakes.endpoint.body.lock().unwrap() = Some(NESTED);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
    let spent = fingerprint(&"token".into());
    assert_eq!(*fakes.store.withheld.lock().unwrap(), [(DocumentId::Integer(1), spent)]);
    assert!(fakes.store.committed.lock().unwrap().is_empty());
    assert!(fakes.journal.entries.lock().unwrap().is_empty(), "it is in its letter");
    let letter = fakes.queue.buried.lock().unwrap()[0].clone();
    assert_eq!((letter.reason, letter.http_status), (DeadReason::UncommittedAnswer, Some(200)));
    let answer = SealedAnswer::decode(&letter.body).unwrap();
    assert!(!String::from_utf8_lossy(&letter.body).contains("new"));
    // Sent back while nobody can read it, it is a letter again.
    fakes.queue.rescued.lock().unwrap().push(answer);
    tokio::spawn(fakes.rescuer(1).run());
    until(|| fakes.queue.buried.lock().unwrap().len() == 2).await;
    assert_eq!(fakes.queue.buried.lock().unwrap()[1].body, letter.body);
    assert!(fakes.store.committed.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_success_that_can_be_read_when_it_is_sent_back_is_written_on_its_condition() {
    let (fakes, _) = rescued();
    fakes.queue.rescued.lock().unwrap().clear();
    let body = br#"{"access_token":"a","refresh_token":"new"}"#.to_vec();
    let unread = UnreadAnswer {
        id: DocumentId::Integer(1),
        owner: "worker/p/1".to_owned(),
        generation: 4,
        sent: "token".into(),
        refresh_absolute_until: None,
        answered_at: Timestamp::default(),
        http_status: 201,
        body: body.into(),
    };
    let at = Timestamp::default();
    let answer = sealer(1).seal_unread(&"p".parse().unwrap(), &unread, at).unwrap();
    fakes.queue.rescued.lock().unwrap().push(answer);
    tokio::spawn(fakes.rescuer(1).run());
    until(|| fakes.store.committed.lock().unwrap().len() == 1).await;
    let committed = fakes.store.committed.lock().unwrap();
    assert_eq!((committed[0].generation, committed[0].rotates()), (Some(4), true));
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_success_that_cannot_be_read_stays_in_the_journal_while_the_store_is_away() {
    let fakes = away_for(Duration::from_secs(30));
    *fakes.endpoint.body.lock().unwrap() = Some(NESTED);
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    until(|| fakes.queue.rescued.lock().unwrap().len() == 1).await;
    assert_eq!(fakes.journal.entries.lock().unwrap().len(), 1);
    assert!(fakes.queue.buried.lock().unwrap().is_empty(), "its document is not out of reach");
    fakes.finish().await;
    assert!(fakes.journal.entries.lock().unwrap().is_empty());
    assert_eq!(fakes.queue.buried.lock().unwrap().len(), 1);
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
    assert!(matches!(committed[0].write, Write::End { .. }), "{:?}", committed[0].write);
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
    assert!(matches!(committed[0].write, Write::Postpone { .. }), "{:?}", committed[0].write);
    assert!(matches!(committed[1].write, Write::Refresh { .. }));
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
    assert!(began.elapsed() < RESCUE_FIRST, "{:?}", began.elapsed());
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
    let answer = fakes.lane.nets.as_ref().unwrap().rescues.take(DocumentId::Integer(1));
    claim(&fakes.lane, vec![fakes.work(1)]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fakes.requests(), 0);
    drop(answer);
    fakes.finish().await;
    assert_eq!((fakes.requests(), fakes.acknowledged()), (1, 1));
}
