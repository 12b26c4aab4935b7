//! Claims a batch of jobs and starts what follows for each.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evergrant_domain::decide::{
    decide_malformed, decide_no_token, decide_of_another, decide_sealed, decide_signed_in,
    decide_twin, decide_unknown_client, decide_unsendable,
};
use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::{
    ClaimNote, ClaimedDocument, DocumentId, Grant, JobDecision, Lease, SealedForm, Settlement,
    StaleReason, Timestamp, assess,
};
use evergrant_ports::Backoff;
use evergrant_ports::{ClaimResult, Commit, StoreError};
use evergrant_rescue::PeerJournal;
use tokio::time::Instant;
use tracing::Instrument;

use crate::lane::Lane;
use crate::pipeline::job_delivery::{Claim, JobDelivery};
use crate::pipeline::lease::release;
use crate::pipeline::refresh::refresh;
use crate::pipeline::refused::{note_claimed, set_aside, take_out_refused, wait_if_all_is_refused};
use crate::pipeline::settle::{PendingCommit, acknowledge, rebury, retry, settle, settle_unsent};
use crate::pipeline::takeover::take_over;

/// Jobs whose documents are claimed together.
struct Batch {
    work: Vec<JobDelivery>,
    /// One owner for all tries, including those of its parts. Otherwise, what a failed try has
    /// claimed would be blocked until the lease runs out.
    owner: String,
    /// When the claim was first tried.
    since: Instant,
}

/// The result of a claim.
enum ClaimAttempt {
    Claimed(Claim, Vec<ClaimedDocument>),
    /// The store refuses one of the documents, or all.
    Refused(StoreError),
    /// The worker is stopping.
    Stopped,
}

/// Claims the documents of `work` and starts what follows for each. While the store is unavailable,
/// it retries until the worker stops; then the deliveries are dropped and the broker redelivers
/// them. A document that the store refuses is set aside and delays no other.
pub(crate) async fn claim(lane: &Arc<Lane>, work: Vec<JobDelivery>) {
    let (work, refused) = take_out_refused(lane, work);
    // Two jobs of one document are claimed separately; otherwise both would have its lease.
    let mut seen = HashSet::new();
    let (work, repeated): (Vec<_>, Vec<_>) =
        work.into_iter().partition(|work| seen.insert(work.job.id.clone()));
    for work in refused.into_iter().chain(repeated) {
        claim_meanwhile(lane, Batch::new(lane, vec![work]));
    }
    if !work.is_empty() {
        claim_batch(lane, Batch::new(lane, work)).await;
    }
}

impl Batch {
    fn new(lane: &Lane, work: Vec<JobDelivery>) -> Self {
        Self { work, owner: lane.next_owner(), since: Instant::now() }
    }

    /// Splits the batch; both halves keep the owner.
    fn halves(mut self) -> [Self; 2] {
        let work = self.work.split_off(self.work.len() / 2);
        let second = Self { work, owner: self.owner.clone(), since: self.since };
        [self, second]
    }
}

fn claim_meanwhile(lane: &Arc<Lane>, batch: Batch) {
    let this = Arc::clone(lane);
    lane.jobs.spawn(async move { claim_batch(&this, batch).await });
}

async fn claim_batch(lane: &Arc<Lane>, mut batch: Batch) {
    let ids: Vec<DocumentId> = batch.work.iter().map(|work| work.job.id.clone()).collect();
    match claim_until(lane, &ids, &batch.owner).await {
        ClaimAttempt::Claimed(claim, rows) => {
            note_claimed(lane, &ids, &rows);
            start_all(lane, batch.work, rows, &claim).await;
        }
        ClaimAttempt::Refused(error) if batch.work.len() == 1 => {
            let Some(work) = batch.work.pop() else { return };
            let (lane, since, span) = (Arc::clone(lane), batch.since, work.span(&batch.owner));
            let jobs = lane.jobs.clone();
            let setting_aside = async move { set_aside(&lane, work, &error, since).await };
            jobs.spawn(setting_aside.instrument(span));
        }
        ClaimAttempt::Refused(error) => {
            tracing::debug!(%error, documents = ids.len(), "the store refuses a claim: splitting the batch");
            wait_if_all_is_refused(lane).await;
            batch.halves().into_iter().for_each(|half| claim_meanwhile(lane, half));
        }
        ClaimAttempt::Stopped => {}
    }
}

async fn start_all(
    lane: &Arc<Lane>,
    work: Vec<JobDelivery>,
    rows: Vec<ClaimedDocument>,
    claim: &Claim,
) {
    let mut unused = Vec::new();
    for (work, row) in work.into_iter().zip(rows) {
        let (id, owned) = (work.job.id.clone(), row.owned());
        if !start(lane, work, row, claim) && owned {
            unused.push(id);
        }
    }
    if !unused.is_empty() {
        release(&*lane.store, &unused, &claim.owner).await;
    }
}

/// Claims all of `ids`, however long the store is unavailable.
async fn claim_until(lane: &Lane, ids: &[DocumentId], owner: &str) -> ClaimAttempt {
    let mut backoff = Backoff::for_a_server();
    while let Some(turn) = lane.stop.run_until_cancelled(lane.store_limiter.next()).await {
        let (sent_at, sent_at_steady) = (Instant::now(), lane.clock.now());
        let claimed = lane.store.claim(ids, owner, lane.settings.lease).await;
        drop(turn);
        match claimed {
            Ok(ClaimResult { now, rows }) => {
                lane.metrics.claim_batches.inc();
                lane.set_store_healthy(true);
                let owner = owner.to_owned();
                let claim = Claim { owner, stored_at: now, sent_at, sent_at_steady };
                return ClaimAttempt::Claimed(claim, rows);
            }
            Err(error @ StoreError::Refused { .. }) => return ClaimAttempt::Refused(error),
            Err(error) => {
                lane.set_store_healthy(false);
                tracing::error!(%error, documents = ids.len(), "the store is unavailable for claims: trying again");
                lane.sleep(backoff.next_wait()).await;
            }
        }
    }
    ClaimAttempt::Stopped
}

/// Starts what follows for one job. False if the lease, if there is one, is not needed.
fn start(lane: &Arc<Lane>, work: JobDelivery, row: ClaimedDocument, claim: &Claim) -> bool {
    let decision = assess(&work.job, row, work.redelivered, claim.now());
    let needs_lease = !matches!(
        decision,
        JobDecision::Stale(_)
            | JobDecision::LeasedElsewhere { .. }
            | JobDecision::RepublishDeadLetter(_)
    );
    let span = work.span(&claim.owner);
    let following = follow(Arc::clone(lane), work, decision, claim.clone());
    lane.jobs.spawn(following.instrument(span));
    needs_lease
}

async fn follow(lane: Arc<Lane>, work: JobDelivery, decision: JobDecision, claim: Claim) {
    let (lane, claim, now) = (&lane, &claim, claim.now());
    let provider = &lane.provider.id;
    match decision {
        JobDecision::Exchange(grant) => match unsent(lane, &grant, now) {
            Some(settlement) => settle_unsent(lane, work, &grant, settlement, claim).await,
            None => refresh(lane, work, grant, claim).await,
        },
        JobDecision::TakenOver(grant, from) => {
            tracing::debug!(
                ?from,
                "the lease's worker has died: waiting for its answer before the takeover"
            );
            if let Some(work) = take_over(lane, work, &grant, &from, claim).await {
                self::claim(lane, vec![work]).await;
            }
        }
        JobDecision::Malformed { what, fingerprint } => {
            lane.metrics.count_malformed(provider);
            let settlement = decide_malformed(&what, fingerprint, now);
            end_unreadable(lane, work, settlement, claim).await;
        }
        JobDecision::NoToken => {
            lane.metrics.count_stale(provider, StaleReason::NoToken);
            end_unreadable(lane, work, decide_no_token(), claim).await;
        }
        JobDecision::OfAnother => {
            lane.metrics.count_stale(provider, StaleReason::Moved);
            tracing::info!("the document names another provider: it will be adopted again");
            end_unreadable(lane, work, decide_of_another(), claim).await;
        }
        JobDecision::Twin { of, fingerprint } => {
            tracing::warn!(%of, "two documents have the same refresh token: it is not sent for this one");
            end_unreadable(lane, work, decide_twin(&of, fingerprint, now), claim).await;
        }
        JobDecision::Stale(reason) => drop_stale(lane, work, reason).await,
        JobDecision::LeasedElsewhere { wait, lease } => {
            wait_for_holder(lane, work, wait, lease).await;
        }
        JobDecision::RepublishDeadLetter(ended) => rebury(lane, work, &ended).await,
    }
}

/// The settlement of a grant for which nothing is sent, if there is one.
fn unsent(lane: &Lane, grant: &Grant, now: Timestamp) -> Option<Settlement> {
    let (policy, provider) = (&lane.provider.policy, &lane.provider.id);
    if let Some(settlement) = decide_sealed(policy, grant, now) {
        lane.metrics.count_stale(provider, StaleReason::SealedToken);
        let form = grant.sealed.map(SealedForm::as_str);
        if !lane.has_told_of_sealed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                form,
                "the application has encrypted its refresh tokens: they are not sent; see evergrant doctor"
            );
        }
        return Some(settlement);
    }
    unsendable(lane, grant, now).or_else(|| decide_signed_in(policy, grant, now))
}

/// The settlement of a grant for whose document no request can be made, such as one whose fields
/// lead to a host to which tokens may not be sent, or one of an unknown client.
fn unsendable(lane: &Lane, grant: &Grant, now: Timestamp) -> Option<Settlement> {
    if let Err(what) = lane.provider.client_of(&grant.fields) {
        return Some(decide_unknown_client(&lane.provider.policy, grant, &what, now));
    }
    let what = lane.provider.check_document(&grant.fields).err()?;
    lane.metrics.count_malformed(&lane.provider.id);
    Some(decide_unsendable(&what, fingerprint(&grant.refresh_token), now))
}

/// Waits for the worker that has the document. If that process has died on this machine and all its
/// answers are written, its lease is ended at once: otherwise the provider's grace could end before
/// the lease does.
async fn wait_for_holder(
    lane: &Arc<Lane>,
    mut work: JobDelivery,
    wait: Duration,
    lease: Option<Box<Lease>>,
) {
    drop(work.flow_permit.take());
    if work.on_demand {
        return acknowledge(work.acker).await;
    }
    let since = Instant::now();
    if let Some(lease) = lease
        && is_settled(lane, lease.process(), wait).await
        && end_lease(lane, &work.job.id, &lease.owner).await
    {
        return claim(lane, vec![work]).await;
    }
    let wait = wait.saturating_sub(since.elapsed());
    retry(lane, work, lane.provider.policy.ladder.at_most(wait)).await;
}

/// How often to check whether a dead process's answers are written.
const JOURNAL_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Whether a process has died and all its answers are written, now or before `within` is over.
async fn is_settled(lane: &Lane, process: &str, within: Duration) -> bool {
    let until = Instant::now() + within;
    loop {
        match lane.peer_journal(process) {
            PeerJournal::Drained => return true,
            PeerJournal::Recovering if Instant::now() < until && !lane.stop.is_cancelled() => {
                lane.sleep(JOURNAL_CHECK_INTERVAL).await;
            }
            PeerJournal::Recovering
            | PeerJournal::Unreadable
            | PeerJournal::Forwarded
            | PeerJournal::Unknown => return false,
        }
    }
}

async fn end_lease(lane: &Lane, id: &DocumentId, owner: &str) -> bool {
    let ended = lane.store.renew(std::slice::from_ref(id), owner, Duration::ZERO).await;
    ended
        .inspect_err(|error| tracing::debug!(%error, "cannot end a dead worker's lease: it ends when its time runs out"))
        .is_ok()
}

async fn drop_stale(lane: &Lane, work: JobDelivery, reason: StaleReason) {
    lane.metrics.count_stale(&lane.provider.id, reason);
    tracing::debug!(reason = reason.as_str(), "the job is stale: acknowledging it");
    acknowledge(work.acker).await;
}

/// Ends a document that has nothing to exchange.
async fn end_unreadable(lane: &Lane, mut work: JobDelivery, settlement: Settlement, claim: &Claim) {
    let commit = Commit {
        id: work.job.id.clone(),
        owner: claim.owner.clone(),
        generation: None,
        sent: None,
        note: ClaimNote::default(),
        write: settlement.write.clone(),
    };
    let flow_permit = work.flow_permit.take();
    settle(
        lane,
        work,
        PendingCommit { settlement, commit, flow_permit, answered_at: Instant::now() },
    )
    .await;
}
