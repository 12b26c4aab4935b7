//! Takeover of a document whose worker has died: that worker may have received the provider's
//! answer.

use std::time::Duration;

use evergrant_domain::decide::{RESCUE_DELAY, decide_taken_over, decide_withheld};
use evergrant_domain::{DocumentId, Grant, PreviousOwner};
use evergrant_ports::Commit;
use evergrant_rescue::PeerJournal;
use tokio::time::Instant;

use crate::flow::away::until_it_answers;
use crate::lane::Lane;
use crate::pipeline::job_delivery::{Claim, JobDelivery};
use crate::pipeline::settle::settle_unsent;

/// Prepares the takeover of a document whose worker has died; see [`JobDecision::TakenOver`]. Waits
/// until the dead worker's answer would have been rescued, then returns the job, whose document is
/// to be claimed again. The job does not go through the broker meanwhile, which could take longer
/// than the provider's grace. None if there is nothing to claim, or the process is ending.
///
/// [`JobDecision::TakenOver`]: evergrant_domain::JobDecision::TakenOver
pub(crate) async fn take_over(
    lane: &Lane,
    mut work: JobDelivery,
    grant: &Grant,
    from: &PreviousOwner,
    held: &Claim,
) -> Option<JobDelivery> {
    drop(work.flow_permit.take());
    // Otherwise a duplicate of the job would not wait. The lease is no longer than needed: if this
    // worker dies as well, the next one must be in time for the provider's grace.
    let kept = lane.leases.renew_lease_while(&grant.id, &held.owner, RESCUE_DELAY * 2);
    let began = Instant::now();
    loop {
        match wait_for_rescue(lane, &grant.id, from).await {
            WaitEnd::LongEnough => {}
            // The lease runs out, so the next worker waits as well. Releasing it would say that
            // there is nothing to wait for.
            WaitEnd::Stopped => return None,
            WaitEnd::Unreadable => {
                end_out_of_reach(lane, work, grant, held).await;
                return None;
            }
        }
        // While the store was unavailable, no worker could write the answer: its holder goes first.
        match how_store_answers(lane).await {
            StoreResponse::AtOnce => break,
            StoreResponse::Slowly if began.elapsed() >= STORE_TIMEOUT => break,
            StoreResponse::Slowly => {}
            StoreResponse::No => until_it_answers(&*lane.store, &lane.stop).await,
        }
    }
    let write = decide_taken_over(&lane.provider.policy, grant, held.now());
    let written = lane.committer.commit(Commit::of_grant(grant, &held.owner, write), None).await;
    drop(kept);
    // None if the process is ending: the delivery comes again. If the commit is superseded, the
    // claim shows the document's new state.
    written.map(|_| work)
}

/// How the store answers now.
enum StoreResponse {
    AtOnce,
    Slowly,
    No,
}

/// A slower answer means that the store was unavailable or is overloaded.
const QUICK_ANSWER_MAX: Duration = Duration::from_millis(500);

/// How long a takeover waits for a slow store to recover.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

async fn how_store_answers(lane: &Lane) -> StoreResponse {
    let asked_at = Instant::now();
    match lane.store.now().await {
        Ok(_) if asked_at.elapsed() < QUICK_ANSWER_MAX => StoreResponse::AtOnce,
        Ok(_) => StoreResponse::Slowly,
        Err(_) => StoreResponse::No,
    }
}

/// How long to wait for an unavailable broker, which may have the answer: long for a restart, short
/// beside a provider's grace.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait for an answer that exists but cannot be reached: in an unreadable journal (an
/// operator is asked afterwards), or in the rescue queue of an unavailable broker.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// How waiting for a dead worker's answer ended.
enum WaitEnd {
    /// The answer would have arrived by now.
    LongEnough,
    /// The worker is stopping.
    Stopped,
    /// The dead worker's journal cannot be read and may hold the answer.
    Unreadable,
}

/// Within this time, a consumer receives an answer that waits in the rescue queue.
const RESCUE_TIMEOUT: Duration = Duration::from_millis(500);
/// How often to check for an answer.
const RESCUE_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until a rescued answer would have arrived while this worker consumes the rescue queue. If
/// this worker has the answer, it waits until that is written or forwarded, however slow the store
/// is: while the answer exists, no grace is needed. The wait ends early once the dead worker's
/// journal on this machine shows that all its answers are written.
///
/// If the journal is on this machine but cannot be read, it may hold the answer, and the wait is
/// longer.
async fn wait_for_rescue(lane: &Lane, id: &DocumentId, from: &PreviousOwner) -> WaitEnd {
    let peer_journal =
        || from.process().map_or(PeerJournal::Unknown, |process| lane.peer_journal(process));
    let recovered = lane.answer_log.as_ref().map(|answer_log| &answer_log.recovered);
    let has_answer = || recovered.is_some_and(|recovered| recovered.has(id));
    let is_served = || recovered.is_none_or(|recovered| recovered.is_served_for(RESCUE_TIMEOUT));
    let began = Instant::now();
    let mut none_since = began;
    loop {
        let peer_journal = peer_journal();
        if peer_journal == PeerJournal::Drained {
            return WaitEnd::LongEnough;
        }
        lane.sleep(RESCUE_CHECK_INTERVAL).await;
        if has_answer() || peer_journal == PeerJournal::Unreadable {
            none_since = Instant::now();
        }
        if peer_journal == PeerJournal::Unreadable
            && (lane.stop.is_cancelled() || began.elapsed() >= ANSWER_TIMEOUT)
        {
            return WaitEnd::Unreadable;
        }
        if lane.stop.is_cancelled() {
            return WaitEnd::Stopped;
        }
        let there_is_one = matches!(peer_journal, PeerJournal::Forwarded | PeerJournal::Recovering);
        let broker_first = if there_is_one { ANSWER_TIMEOUT } else { BROKER_TIMEOUT };
        let looked = is_served() || began.elapsed() >= broker_first;
        if looked && none_since.elapsed() >= RESCUE_DELAY {
            return WaitEnd::LongEnough;
        }
    }
}

/// Ends a grant whose answer may be in an unreadable journal: the token is not sent. An operator
/// makes the journal readable, and then its answers are written, or redrives the job.
async fn end_out_of_reach(lane: &Lane, work: JobDelivery, grant: &Grant, claim: &Claim) {
    let settlement = decide_withheld(grant, UNREADABLE_JOURNAL, claim.now());
    tracing::error!("{UNREADABLE_JOURNAL}");
    settle_unsent(lane, work, grant, settlement, claim).await;
}

const UNREADABLE_JOURNAL: &str = "the worker died and its journal cannot be read, so the new tokens may be in \
    it: make the files in the folder of rescue.journal readable. To send the old token all the same, \
    redrive";
