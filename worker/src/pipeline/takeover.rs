//! The worker that held a document has died: it may have had the provider's answer in its hands.

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

/// The worker that held the document has died; see [`Verdict::TakenOver`]. Once its answer had the
/// time to be rescued, the document is to be claimed anew for the job, which is returned. It stays in hand
/// meanwhile: its way through the broker could take longer than the grace. None if there is nothing to claim,
/// or the process is ending.
///
/// [`Verdict::TakenOver`]: evergrant_domain::Verdict::TakenOver
pub(crate) async fn take_over(
    lane: &Lane,
    mut work: JobDelivery,
    grant: &Grant,
    from: &PreviousOwner,
    held: &Claim,
) -> Option<JobDelivery> {
    drop(work.flow_permit.take());
    // Or a duplicate of the job would not wait. Not for longer than needed: should this worker die as well,
    // the next one must come in time for the provider's grace.
    let kept = lane.leases.renew_lease_while(&grant.id, &held.owner, RESCUE_DELAY * 2);
    let began = Instant::now();
    loop {
        match wait_for_rescue(lane, &grant.id, from).await {
            WaitEnd::LongEnough => {}
            // The lease runs out: who takes over next waits as well. To give it back would say that there is
            // nothing to wait for.
            WaitEnd::Stopped => return None,
            WaitEnd::Unreadable => {
                end_out_of_reach(lane, work, grant, held).await;
                return None;
            }
        }
        // While the store was away nobody could write the answer: whoever has it comes first.
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
    // None if the process is ending: the delivery comes again. If it is superseded, the claim tells
    // what has become of the document.
    written.map(|_| work)
}

/// How the store answers just now.
enum StoreResponse {
    AtOnce,
    Slowly,
    No,
}

/// An answer that takes longer is of a store that was away, or has too much to do.
const QUICK_ANSWER_MAX: Duration = Duration::from_millis(500);

/// How long a takeover waits for a store that is slow to be quicker.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

async fn how_store_answers(lane: &Lane) -> StoreResponse {
    let asked_at = Instant::now();
    match lane.store.now().await {
        Ok(_) if asked_at.elapsed() < QUICK_ANSWER_MAX => StoreResponse::AtOnce,
        Ok(_) => StoreResponse::Slowly,
        Err(_) => StoreResponse::No,
    }
}

/// How long a broker that is away is waited for, which may have the answer: long for a restart, short
/// beside the grace of a provider that has one.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a dead worker's answer is waited for where there surely was one and it cannot be reached: in a
/// journal that cannot be read (then an operator is asked), or in the rescue queue of a broker that is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// How waiting for a dead worker's answer ended.
enum WaitEnd {
    /// It would have been here by now.
    LongEnough,
    /// The worker is stopping.
    Stopped,
    /// The dead worker's journal cannot be read, and may hold it.
    Unreadable,
}

/// Within this an answer that waits in the rescue queue is in the hands of one of its consumers.
const RESCUE_TIMEOUT: Duration = Duration::from_millis(500);
/// How often it is looked whether an answer is in hand.
const RESCUE_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Waits for as long as an answer takes to be rescued while the rescue queue is consumed here; and for
/// one that this worker has in hand until it is written or on its way to another worker, however slow
/// the store is: as long as the answer lives, no grace is needed. Not longer than until all that the
/// dead worker left is known to be written, which its journal tells on its own machine.
///
/// Where the journal is here and cannot be read, it is waited for longer: the answer may be in there.
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

/// Whether the provider's answer is in the journal nobody can tell, so the token is not sent: an operator
/// makes the journal readable, and then what is in it is written; or sends the job back.
async fn end_out_of_reach(lane: &Lane, work: JobDelivery, grant: &Grant, claim: &Claim) {
    let settlement = decide_withheld(grant, UNREADABLE_JOURNAL, claim.now());
    let (provider, id) = (&lane.provider.id, &grant.id);
    tracing::error!(%provider, %id, "{UNREADABLE_JOURNAL}");
    settle_unsent(lane, work, grant, settlement, claim).await;
}

const UNREADABLE_JOURNAL: &str = "its worker died, and its journal cannot be read, so its new tokens may be \
    in there: make the files in the folder of rescue.journal readable. To send the old token all the same, \
    redrive";
