//! Carries out a settlement: writes the document, routes the job, acknowledges the delivery.

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

/// A settlement that is ready to be carried out.
pub(crate) struct PendingCommit {
    pub(crate) settlement: Settlement,
    pub(crate) commit: Commit,
    /// Its flow permit, until it is written.
    pub(crate) flow_permit: Option<OwnedSemaphorePermit>,
    /// When the provider answered. From then until the commit, a grant can be lost.
    pub(crate) answered_at: Instant,
}

/// A settlement whose commit is written or superseded. Routing the job remains.
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

/// Waits for `writing` and keeps the delivery. If the store refuses the document for long while it
/// writes others, the delivery is acknowledged early, because many such would leave no room in the
/// prefetch. The answer is still written, and the lease is renewed meanwhile.
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

/// Replaces the acker of a delivery that is already acknowledged.
struct AckedDelivery;

#[async_trait]
impl DeliveryAcker for AckedDelivery {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        Ok(())
    }
}

/// Settles a grant for which nothing was sent.
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
        tracing::info!("the document has changed meanwhile: nothing is overwritten");
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
        // Unreachable: `decide` ends a job only together with its document, and a test checks that.
        (JobRoute::DeadLetter(_), _) => acknowledge(work.acker).await,
    }
}

/// Commits with safeguards: the answer is in the journal before anything is awaited. If the store
/// does not take it in time, it also goes to the rescue queue.
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
    // None means that the process is ending and the answer is not written.
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

/// Publishes the missing dead letter of an ended document: its worker died before it could.
pub(crate) async fn rebury(lane: &Lane, work: JobDelivery, ended: &EndedGrant) {
    let since = ended.failing_since;
    let letter = letter(lane, &work, ended.reason, ended.attempts, since, &ended.last_error);
    bury(lane, &letter, work.acker).await;
}

/// Tries on one rung before the job goes to the next one.
const RUNG_TRIES: usize = 2;
/// How long a delivery is kept for a write or a publish. It occupies a part of its consumer's
/// prefetch.
const HOLD_MAX: Duration = Duration::from_secs(5 * 60);
/// The delay of a job whose dead letter could not be published.
const LETTER_INTERVAL: Duration = Duration::from_secs(3_600);

/// Sends a job to a rung of the ladder, then acknowledges its delivery. If a rung does not accept
/// it, the next one is tried. If none does for long, the job is dropped, and the producer publishes
/// it again.
pub(crate) async fn retry(lane: &Lane, work: JobDelivery, delay: Duration) {
    let JobDelivery { job, mut acker, on_demand, flow_permit, .. } = work;
    drop(flow_permit);
    // A caller's job was not due, and comes again only if it is by then. Its caller is told at once.
    let job = Job { waited: true, force: job.force && !on_demand, ..job };
    if on_demand {
        acknowledge(std::mem::replace(&mut acker, Box::new(AckedDelivery))).await;
    }
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(delay_ms, "the job waits and comes again");
    match send_back(lane, &job, delay).await {
        PublishResult::Yes => acknowledge(acker).await,
        PublishResult::TooLate => {
            tracing::error!(
                "no retry queue accepts the job: dropping it, the producer publishes it again"
            );
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

/// Publishes a dead letter, then acknowledges the delivery. If the broker does not accept it for
/// long, the job is retried later and its letter is written then.
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

/// The result of publishing a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PublishResult {
    Yes,
    /// The broker did not take it within [`HOLD_MAX`].
    TooLate,
    /// The worker is stopping: the delivery is not acknowledged and comes again.
    Stopped,
}

/// Publishes until the broker confirms, for up to [`HOLD_MAX`]. `attempt` gets the number of
/// failures so far.
async fn publish<F>(lane: &Lane, what: &str, attempt: impl Fn(usize) -> F) -> PublishResult
where
    F: Future<Output = Result<(), QueueError>>,
{
    let (began_at, mut backoff) = (Instant::now(), Backoff::for_a_server());
    for tries in 0.. {
        let Err(error) = attempt(tries).await else { return PublishResult::Yes };
        tracing::error!(%error, what, "the broker does not accept a message: trying again");
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

/// Acknowledges a delivery. If that fails, it comes again, and the claim turns it away
/// (idempotent).
pub(crate) async fn acknowledge(acker: Box<dyn DeliveryAcker>) {
    if let Err(error) = acker.ack().await {
        tracing::debug!(%error, "a delivery was not acknowledged: it comes again and finds nothing to do");
    }
}
