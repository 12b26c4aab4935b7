//! A settlement is carried out: document, then route, then acknowledgement.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use evergrant_domain::decide::route_superseded;
use evergrant_domain::{
    DeadLetter, DeadReason, DocumentWrite, EndedGrant, Grant, Job, JobRoute, LastError, Settlement,
    Timestamp,
};
use evergrant_ports::Backoff;
use evergrant_ports::{Commit, CommitResult, DeliveryAcker, QueueError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::lane::Lane;
use crate::pipeline::job_delivery::{Claim, JobDelivery};

/// What was decided, ready to be carried out.
pub(crate) struct PendingCommit {
    pub(crate) settlement: Settlement,
    pub(crate) commit: Commit,
    /// Its permit among what the lane has in hand, until it is written.
    pub(crate) flow_permit: Option<OwnedSemaphorePermit>,
    /// When the provider answered: from then until the commit a grant could be lost.
    pub(crate) answered_at: Instant,
}

/// What was decided and written, or found superseded: what is left is to route the job.
pub(crate) struct CommittedJob {
    settlement: Settlement,
    committed: CommitResult,
}

/// Writes the document, routes the job, acknowledges the delivery.
pub(crate) async fn settle(lane: &Lane, mut work: JobDelivery, settled: PendingCommit) {
    if let Some(written) = hold(lane, &mut work, write(lane, settled)).await {
        route(lane, work, written).await;
    }
}

/// Waits for `writing` with the delivery at hand. A document that the store refuses for long, while it
/// writes others, gives its delivery up: many such would leave no room for others. Its answer is still
/// written, and its lease is kept meanwhile.
pub(crate) async fn hold<T>(
    lane: &Lane,
    work: &mut JobDelivery,
    writing: impl Future<Output = T>,
) -> T {
    let began_at = Instant::now();
    let mut writing = pin!(writing);
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return written,
            () = tokio::time::sleep(HOLD_MAX) => {}
        }
        if lane.committer.has_written_since(began_at) {
            acknowledge(std::mem::replace(&mut work.acker, Box::new(AckedDelivery))).await;
            return writing.await;
        }
    }
}

/// Of a delivery that is acknowledged already.
struct AckedDelivery;

#[async_trait]
impl DeliveryAcker for AckedDelivery {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        Ok(())
    }
}

/// Carries out what was decided of a grant for which nothing was sent.
pub(crate) async fn settle_unsent(
    lane: &Lane,
    mut work: JobDelivery,
    grant: &Grant,
    settlement: Settlement,
    claim: &Claim,
) {
    let commit = Commit::of_grant(grant, &claim.owner, settlement.write.clone());
    let flow_permit = work.flow_permit.take();
    settle(
        lane,
        work,
        PendingCommit { settlement, commit, flow_permit, answered_at: Instant::now() },
    )
    .await;
}

/// Writes the document. None only when the process is ending.
pub(crate) async fn write(lane: &Lane, settled: PendingCommit) -> Option<CommittedJob> {
    let PendingCommit { settlement, commit, flow_permit, answered_at } = settled;
    let committed = commit_logged(lane, commit, flow_permit).await?;
    lane.metrics.commit_seconds.observe(answered_at.elapsed().as_secs_f64());
    Some(CommittedJob { settlement, committed })
}

/// Routes the job and acknowledges the delivery.
pub(crate) async fn route(lane: &Lane, work: JobDelivery, written: CommittedJob) {
    let CommittedJob { settlement, committed } = written;
    if committed == CommitResult::Superseded {
        lane.metrics.superseded.inc();
        let (provider, id) = (&lane.provider.id, &work.job.id);
        tracing::info!(%provider, %id, "the document has moved on: nothing is overwritten");
        return match route_superseded(&lane.provider.policy, &settlement.write) {
            JobRoute::Retry(delay) => retry(lane, work, delay).await,
            JobRoute::Done | JobRoute::DeadLetter(_) => acknowledge(work.acker).await,
        };
    }
    lane.metrics.commits.inc();
    match (settlement.route, settlement.write) {
        (JobRoute::Done, _) => acknowledge(work.acker).await,
        (JobRoute::Retry(delay), _) => retry(lane, work, delay).await,
        (
            JobRoute::DeadLetter(reason),
            DocumentWrite::End { attempts, failing_since, last_error, .. },
        ) => {
            let letter = letter(lane, &work, reason, attempts, failing_since, &last_error);
            lane.metrics.count_dead(&lane.provider.id, reason);
            bury(lane, &letter, work.acker).await;
        }
        // A job is dead only with its document: `decide` is tested for it.
        (JobRoute::DeadLetter(_), _) => acknowledge(work.acker).await,
    }
}

/// Commits with the safeguards under it: the answer is in the journal before anything is awaited, and if
/// the store does not take it in time, in the rescue queue as well.
async fn commit_logged(
    lane: &Lane,
    commit: Commit,
    flow_permit: Option<OwnedSemaphorePermit>,
) -> Option<CommitResult> {
    let answer_log = lane.answer_log.as_deref();
    let logged = answer_log
        .and_then(|answer_log| Some((answer_log, answer_log.record(&lane.provider.id, &commit)?)));
    let mut committing = pin!(lane.committer.commit(commit, flow_permit));
    let Some((answer_log, logged)) = logged else { return committing.await };
    let committed = tokio::select! {
        biased;
        committed = &mut committing => committed,
        () = tokio::time::sleep(answer_log.after) => {
            let rescuing = async {
                answer_log.rescue(&logged).await;
                std::future::pending().await
            };
            tokio::select! {
                biased;
                committed = &mut committing => committed,
                never = rescuing => never,
            }
        }
    };
    // Not if the process is ending with the answer unwritten.
    if committed.is_some() {
        answer_log.forget(&logged);
    }
    committed
}

fn letter(
    lane: &Lane,
    work: &JobDelivery,
    reason: DeadReason,
    attempts: u32,
    failing_since: Timestamp,
    last_error: &LastError,
) -> DeadLetter {
    let worker = &lane.name;
    DeadLetter::of_job(&work.job, reason, attempts, failing_since, last_error, worker)
}

/// A worker died between the document's end and the dead letter: writes the letter now.
pub(crate) async fn rebury(lane: &Lane, work: JobDelivery, ended: &EndedGrant) {
    let since = ended.failing_since;
    let letter = letter(lane, &work, ended.reason, ended.attempts, since, &ended.last_error);
    bury(lane, &letter, work.acker).await;
}

/// How often a rung is tried before the job goes to the next one.
const RUNG_TRIES: usize = 2;
/// How long a delivery is kept for what has to be written or published: it occupies a place of its
/// consumer.
const HOLD_MAX: Duration = Duration::from_secs(5 * 60);
/// When a job comes again whose dead letter could not be published.
const LETTER_INTERVAL: Duration = Duration::from_secs(3_600);

/// Sends a job to a rung of the ladder, then acknowledges its delivery. A rung that does not take it is
/// passed by for the next one. If none does for long, the job is dropped: the producer makes it again.
pub(crate) async fn retry(lane: &Lane, work: JobDelivery, delay: Duration) {
    let JobDelivery { job, acker, flow_permit, .. } = work;
    drop(flow_permit);
    let job = Job { waited: true, ..job };
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(provider = %lane.provider.id, id = %job.id, delay_ms, "the job comes again");
    match send_back(lane, &job, delay).await {
        PublishResult::Yes => acknowledge(acker).await,
        PublishResult::TooLate => {
            let (provider, id) = (&lane.provider.id, &job.id);
            tracing::error!(%provider, %id, "no rung takes the job: it is dropped, the producer makes it again");
            acknowledge(acker).await;
        }
        PublishResult::Stopped => {}
    }
}

async fn send_back(lane: &Lane, job: &Job, delay: Duration) -> PublishResult {
    let ladder = &lane.provider.policy.ladder;
    let rung = |tries: usize| ladder.detour(delay, tries / RUNG_TRIES);
    publish(lane, "a retry", |tries| lane.queue.retry(job, rung(tries))).await
}

/// Publishes a dead letter, then acknowledges the delivery that it came from. If the broker does not take
/// it for long, the job comes again later and its letter is written then.
pub(crate) async fn bury(lane: &Lane, letter: &DeadLetter, acker: Box<dyn DeliveryAcker>) {
    loop {
        match publish(lane, "a dead letter", |_| lane.queue.bury(letter)).await {
            PublishResult::Yes => return acknowledge(acker).await,
            PublishResult::Stopped => return,
            PublishResult::TooLate => {}
        }
        let Ok(job) = Job::decode(&letter.body) else { continue };
        let job = Job { waited: true, ..job };
        match send_back(lane, &job, LETTER_INTERVAL).await {
            PublishResult::Yes => return acknowledge(acker).await,
            PublishResult::Stopped => return,
            PublishResult::TooLate => {}
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PublishResult {
    Yes,
    /// The broker did not take it within [`HOLD_MAX`].
    TooLate,
    /// The worker stops: the delivery is not acknowledged and comes again.
    Stopped,
}

/// Publishes until the broker has it, for up to [`HOLD_MAX`]. `attempt` is told how many failed before.
async fn publish<F>(lane: &Lane, what: &str, attempt: impl Fn(usize) -> F) -> PublishResult
where
    F: Future<Output = Result<(), QueueError>>,
{
    let (began_at, mut backoff) = (Instant::now(), Backoff::for_a_server());
    for tries in 0.. {
        let Err(error) = attempt(tries).await else { return PublishResult::Yes };
        let provider = &lane.provider.id;
        tracing::error!(%provider, %error, what, "not published: trying again");
        lane.sleep(backoff.next_wait()).await;
        if lane.stop.is_cancelled() {
            return PublishResult::Stopped;
        }
        if began_at.elapsed() >= HOLD_MAX {
            break;
        }
    }
    PublishResult::TooLate
}

/// Acknowledges a delivery. If that fails it comes again, and the claim turns it away.
pub(crate) async fn acknowledge(acker: Box<dyn DeliveryAcker>) {
    if let Err(error) = acker.ack().await {
        tracing::debug!(%error, "not acknowledged: the job comes again and has nothing to do");
    }
}
