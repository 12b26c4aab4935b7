//! Tests of the rescue queue of every [`JobQueue`].

use std::time::Duration;

use evergrant_domain::sealed_answer::SEALED_ANSWER_VERSION;
use evergrant_domain::{DocumentId, SealedAnswer, Timestamp};
use evergrant_testkit::deployment::eventually;

use super::adapters::on_each_queue;
use super::queue::{Case, job, next, provider};

on_each_queue!(
    a_rescued_answer_arrives_as_it_was,
    a_rescued_answer_stays_until_it_is_acknowledged,
    rescued_answers_are_no_jobs,
);

fn answer(id: i64) -> SealedAnswer {
    SealedAnswer {
        version: SEALED_ANSWER_VERSION,
        provider: provider(),
        id: DocumentId::Integer(id),
        key: "0011223344556677".to_owned(),
        sealed_at: Timestamp::from_unix_ms(1_700_000_000_123),
        spent: Some("0011223344556677".to_owned()),
        passes: 3,
        sealed: "A".repeat(100_000),
    }
}

async fn a_rescued_answer_arrives_as_it_was(case: Case) {
    let mut intake = case.queue.consume_rescues(10).await.unwrap();
    for id in [1, 2] {
        case.queue.rescue(&answer(id)).await.unwrap();
        let delivery = next(&mut *intake).await;
        assert_eq!(SealedAnswer::decode(&delivery.body), Ok(answer(id)));
        delivery.acker.ack().await.unwrap();
    }
    intake.stop().await;
    assert!(intake.next().await.is_none());
}

/// However often its consumers die.
async fn a_rescued_answer_stays_until_it_is_acknowledged(case: Case) {
    case.queue.rescue(&answer(1)).await.unwrap();
    for life in 0..110 {
        let mut intake = case.queue.consume_rescues(10).await.unwrap();
        let delivery = next(&mut *intake).await;
        assert_eq!(delivery.redelivered, life > 0);
    }
    let mut intake = case.queue.consume_rescues(10).await.unwrap();
    next(&mut *intake).await.acker.ack().await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(300), intake.next()).await;
    assert!(nothing.is_err(), "it was acknowledged");
}

async fn rescued_answers_are_no_jobs(case: Case) {
    case.queue.rescue(&answer(1)).await.unwrap();
    case.queue.publish(&[job(2)]).await.unwrap();
    eventually("the job alone is counted", || async {
        case.queue.depth(&provider()).await.unwrap() == 1
    })
    .await;
    let mut intake = case.queue.consume_rescues(10).await.unwrap();
    let delivery = next(&mut *intake).await;
    assert_eq!(SealedAnswer::decode(&delivery.body), Ok(answer(1)));
}
