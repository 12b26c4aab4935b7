//! Keeps a success whose tokens were not found: its body is sealed in a dead letter, and its
//! document is withheld until the body can be read.

use evergrant_domain::decide::without_body;
use evergrant_domain::{ClaimNote, DeadLetter, DeadReason, DocumentWrite, LastError, Settlement};
use evergrant_ports::Backoff;
use evergrant_ports::Commit;
use evergrant_rescue::UnreadAnswer;
use tokio::time::Instant;

use crate::lane::Lane;
use crate::pipeline::job_delivery::JobDelivery;
use crate::pipeline::settle::{PendingCommit, acknowledge, settle};
use crate::recovery::answer_log::{AnswerLog, LoggedAnswer};

/// Keeps an answer and settles its document. The body is in the journal before anything is awaited.
/// Without a key it cannot be kept, and the grant is lost.
pub(crate) async fn keep_unread(
    lane: &Lane,
    work: JobDelivery,
    unread: &UnreadAnswer,
    settlement: Settlement,
    answered_at: Instant,
) {
    let (provider, id) = (&lane.provider.id, &unread.id);
    let answer_log = lane.answer_log.as_deref();
    let logged = answer_log
        .and_then(|answer_log| Some((answer_log, answer_log.record_unread(provider, unread)?)));
    let (Some((answer_log, logged)), DocumentWrite::End { last_error, .. }) =
        (logged, &settlement.write)
    else {
        tracing::error!(
            "the body of this answer held the new tokens and is lost: \
            set rescue.key, so that the next one is kept"
        );
        let settlement = without_body(settlement);
        let commit = Commit {
            id: id.clone(),
            owner: unread.owner.clone(),
            generation: Some(unread.generation),
            sent: Some(unread.sent.clone()),
            note: ClaimNote::default(),
            write: settlement.write.clone(),
        };
        return settle(
            lane,
            work,
            PendingCommit { settlement, commit, flow_permit: None, answered_at },
        )
        .await;
    };
    if withhold(lane, answer_log, &logged, last_error).await {
        bury(lane, &logged, last_error).await;
    }
    answer_log.forget(&logged);
    acknowledge(work.acker).await;
}

/// Withholds the document, however long the store takes. If that is long, the answer also goes to
/// the rescue queue. False if the document has changed: the tokens are not needed then.
async fn withhold(
    lane: &Lane,
    answer_log: &AnswerLog,
    logged: &LoggedAnswer,
    last_error: &LastError,
) -> bool {
    let (id, began) = (&logged.answer.id, Instant::now());
    let spent = logged.answer.spent.as_deref().unwrap_or_default();
    let (mut backoff, mut rescued) = (Backoff::for_an_answer(), false);
    loop {
        match lane.store.withhold(id, spent, last_error).await {
            Ok(waits) => return waits,
            Err(error) => tracing::debug!(%error, "the document is not withheld yet: trying again"),
        }
        if !rescued && began.elapsed() >= answer_log.after {
            rescued = lane.queue.rescue(&logged.answer).await.is_ok();
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// Publishes the letter, however long the broker takes. Until then, the answer is in the journal
/// only.
async fn bury(lane: &Lane, logged: &LoggedAnswer, last_error: &LastError) {
    let answer = &logged.answer;
    let (provider, worker) = (answer.provider.clone(), &lane.name);
    let why = last_error.description.clone().unwrap_or_default();
    let id = Some(answer.id.clone());
    let letter = DeadLetter {
        http_status: last_error.http_status,
        ..DeadLetter::of_answer(answer.encode(), provider, id, why, last_error.at, worker)
    };
    lane.metrics.count_dead(&letter.provider, DeadReason::UncommittedAnswer);
    let mut backoff = Backoff::for_a_server();
    while let Err(error) = lane.queue.bury(&letter).await {
        tracing::error!(%error,
            "the broker does not accept the dead letter of an unreadable answer: trying again");
        tokio::time::sleep(backoff.next_wait()).await;
    }
}
