//! Recovery of an answer that another worker got.

use std::sync::atomic::Ordering;
use std::time::Duration;

use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::{
    ClaimNote, DeadReason, DocumentId, DocumentWrite, FieldValues, SealedAnswer, Timestamp,
};
use evergrant_ports::Commit;
use evergrant_rescue::{AnswerJournal, UnreadAnswer};

use crate::fakes::{FakeQueue, FakeStore, Fakes, away_for, sealer, until};
use crate::pipeline::claim::claim;
use crate::recovery::orphaned_answer::{AnswerSource, STORE_TIMEOUT};

/// Fakes with an answer in the rescue queue, sealed by a worker whose key repeats 1.
fn rescued() -> (Fakes, SealedAnswer) {
    let fakes = Fakes::new(FakeStore::default(), FakeQueue::default());
    let answer = answer_for(1);
    fakes.queue.rescued.lock().unwrap().push(answer.clone());
    (fakes, answer)
}

/// An answer for a document, sealed by a worker whose key repeats 1.
fn answer_for(id: i64) -> SealedAnswer {
    let at = Timestamp::default();
    let times = RefreshTimes {
        access_expires_at: at,
        access_is_assumed: false,
        refresh_idle_until: None,
        refresh_absolute_until: None,
        next_refresh_at: at,
    };
    let write = DocumentWrite::Refresh {
        access_token: "new-access".into(),
        refresh_token: Some("new".into()),
        refreshed_at: at,
        times,
        also: FieldValues::new(),
    };
    let commit = Commit {
        id: DocumentId::Integer(id),
        owner: "dead/p/1".to_owned(),
        generation: Some(0),
        sent: Some("token".into()),
        note: ClaimNote::default(),
        write,
    };
    sealer(1).seal(&"p".parse().unwrap(), &commit, at).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_gets_few_but_large_commits() {
    let store = FakeStore { commit_takes: Duration::from_secs(2), ..FakeStore::default() };
    let fakes = Fakes::new(store, FakeQueue::default());
    tokio::spawn(fakes.recovery_of(1).run());
    for id in 0..100 {
        fakes.queue.rescued.lock().unwrap().push(answer_for(id));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until(|| fakes.store.committed.lock().unwrap().len() == 100).await;
    let (_, most) = *fakes.store.committing.lock().unwrap();
    assert_eq!(most, 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_key_waits_with_its_document_withheld() {
    let (fakes, _) = rescued();
    let without_the_key = tokio::spawn(fakes.recovery_of(2).run());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let spent = fingerprint(&"token".into());
    assert_eq!(*fakes.store.withheld.lock().unwrap(), [(DocumentId::Integer(1), spent)]);
    assert!(fakes.queue.buried.lock().unwrap().is_empty(), "another worker may have the key");
    // With two consumers, chance would decide which is next.
    without_the_key.abort();
    tokio::spawn(fakes.recovery_of(1).run());
    until(|| fakes.store.committed.lock().unwrap().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fakes.queue.buried.lock().unwrap().is_empty(), "it is written");
}

#[tokio::test(start_paused = true)]
async fn an_unopenable_answer_becomes_a_complete_dead_letter() {
    let (fakes, sealed) = rescued();
    tokio::spawn(fakes.recovery_of(2).run());
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
async fn an_answer_of_another_key_stays_until_withheld() {
    let (fakes, _) = rescued();
    *fakes.store.away_for.lock().unwrap() = Duration::from_secs(1_200);
    tokio::spawn(fakes.recovery_of(2).run());
    tokio::time::sleep(Duration::from_secs(1_100)).await;
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
    until(|| fakes.store.withheld.lock().unwrap().len() == 1).await;
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_document_is_withheld_within_seconds_despite_a_hanging_call() {
    let (fakes, _) = rescued();
    fakes.store.unanswered.store(2, Ordering::Relaxed);
    tokio::spawn(fakes.recovery_of(2).run());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fakes.store.withheld.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_key_is_dropped_if_superseded() {
    let (fakes, _) = rescued();
    fakes.store.moved_on.store(true, Ordering::Relaxed);
    tokio::spawn(fakes.recovery_of(2).run());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fakes.queue.rescued.lock().unwrap().is_empty());
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_answer_is_retried_with_its_document_withheld() {
    let (fakes, _) = rescued();
    *fakes.store.refuses.lock().unwrap() = Some(DocumentId::Integer(1));
    tokio::spawn(fakes.recovery_of(1).run());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(fakes.store.withheld.lock().unwrap().len(), 1);
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
    *fakes.store.refuses.lock().unwrap() = None;
    until(|| fakes.store.committed.lock().unwrap().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(fakes.queue.buried.lock().unwrap().is_empty(), "the rule was mended");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stays_refused_becomes_a_dead_letter() {
    let (fakes, _) = rescued();
    *fakes.store.refuses.lock().unwrap() = Some(DocumentId::Integer(1));
    tokio::spawn(fakes.recovery_of(1).run());
    until(|| fakes.queue.buried.lock().unwrap().len() == 1).await;
    assert_eq!(fakes.queue.buried.lock().unwrap()[0].reason, DeadReason::UncommittedAnswer);
    assert_eq!(fakes.store.withheld.lock().unwrap().len(), 1);
}

const NESTED: &str = r#"{"status":0,"body":{"access_token":"a","refresh_token":"new"}}"#;

#[tokio::test(start_paused = true)]
async fn an_unreadable_success_is_kept_sealed_with_its_document_withheld() {
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
    // Sent back while no worker can read it, it becomes a letter again.
    fakes.queue.rescued.lock().unwrap().push(answer);
    tokio::spawn(fakes.recovery_of(1).run());
    until(|| fakes.queue.buried.lock().unwrap().len() == 2).await;
    assert_eq!(fakes.queue.buried.lock().unwrap()[1].body, letter.body);
    assert!(fakes.store.committed.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_redriven_success_that_becomes_readable_is_written_conditionally() {
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
    tokio::spawn(fakes.recovery_of(1).run());
    until(|| fakes.store.committed.lock().unwrap().len() == 1).await;
    let committed = fakes.store.committed.lock().unwrap();
    assert_eq!((committed[0].generation, committed[0].rotates()), (Some(4), true));
    assert!(fakes.queue.buried.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_success_stays_journalled_without_the_store() {
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

#[tokio::test(start_paused = true)]
async fn an_answer_is_written_seconds_after_a_double_outage() {
    let (fakes, sealed) = rescued();
    *fakes.store.away_for.lock().unwrap() = Duration::from_secs(3_600);
    let recovery = &fakes.recovery_of(1).recovery;
    let entry = fakes.journal.append(&sealed).unwrap();
    let rescue = recovery.take(sealed.encode(), AnswerSource::Journal(entry));
    let unwritten = recovery.settle(vec![rescue], STORE_TIMEOUT, None).await.pop().unwrap();
    *fakes.store.away_for.lock().unwrap() = Duration::ZERO;
    fakes.store.unanswered.store(1, Ordering::Relaxed);
    fakes.queue.confirms_no_rescue.store(true, Ordering::Relaxed);
    let settling = recovery.forward_or_write(unwritten);
    let kept = tokio::time::timeout(Duration::from_secs(5), settling).await.unwrap();
    assert!(kept.is_none());
    assert_eq!(fakes.store.committed.lock().unwrap().len(), 1);
    assert!(fakes.journal.entries.lock().unwrap().is_empty());
}
