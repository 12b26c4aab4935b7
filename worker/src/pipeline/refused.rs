//! Documents that the store refuses to write.
//!
//! One claim covers a whole batch, so one document can make the store refuse all of it. The batch
//! is halved until that document is alone. It gets one dead letter and is parked; the others
//! continue.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::refusals::RefusalCause;
use evergrant_domain::{ClaimedDocument, DeadLetter, DocumentId};
use evergrant_ports::{StoreError, wall_clock};
use tokio::time::Instant;

use crate::lane::Lane;
use crate::pipeline::job_delivery::JobDelivery;
use crate::pipeline::settle::{acknowledge, bury, retry};

/// No other worker writes a letter for the same document within this time.
const LETTER_TTL: Duration = Duration::from_secs(7 * 86_400);
/// After so many refused documents in a row, the store may refuse everything.
const SUSPICIOUS: u32 = 8;
/// The wait before a refused batch is split, while the store may refuse everything.
const SUSPICION_DELAY: Duration = Duration::from_secs(2);

/// Separates jobs whose documents were refused before, so that the rest of the batch need not be
/// split again. A job of a parked document is acknowledged; one that an operator sent is tried at
/// once.
pub(crate) fn take_out_refused(
    lane: &Arc<Lane>,
    batch: Vec<JobDelivery>,
) -> (Vec<JobDelivery>, Vec<JobDelivery>) {
    let mut refusals = lane.refused.lock();
    if refusals.is_empty() {
        return (batch, Vec::new());
    }
    let now = lane.refused.at(Instant::now());
    refusals.forget_old(now);
    let (mut fresh, mut refused) = (Vec::with_capacity(batch.len()), Vec::new());
    for work in batch {
        let id = &work.job.id;
        if !refusals.contains(id) {
            fresh.push(work);
        } else if work.job.force || !refusals.is_parked(id, now) {
            refused.push(work);
        } else {
            tracing::debug!(provider = %lane.provider.id, %id, "the document is parked: acknowledging its job");
            lane.jobs.spawn(acknowledge(work.acker));
        }
    }
    (fresh, refused)
}

/// Notes that the claim of these documents was not refused.
pub(crate) fn note_claimed(lane: &Arc<Lane>, ids: &[DocumentId], rows: &[ClaimedDocument]) {
    let now = lane.refused.at(Instant::now());
    let (written, others): (Vec<_>, Vec<_>) =
        ids.iter().zip(rows).partition(|(_, row)| row.owned());
    let written: Vec<_> = written.into_iter().map(|(id, _)| id.clone()).collect();
    let mut refusals = lane.refused.lock();
    let mut healed = refusals.accept(&written, now);
    healed
        .extend(others.into_iter().filter(|(id, _)| refusals.forget(id)).map(|(id, _)| id.clone()));
    drop(refusals);
    if healed.is_empty() {
        return;
    }
    tell(lane, None);
    for id in healed {
        tracing::info!(provider = %lane.provider.id, %id, "the store accepts the document again");
        let lane = Arc::clone(lane);
        lane.clone().jobs.spawn(async move {
            // Otherwise the next refusal could remain without a letter for a while.
            let _ = lane.election.resign(&role(&lane, &id), &lane.name).await;
        });
    }
}

/// Waits while the store may refuse everything, so that it does not get splits at full speed.
pub(crate) async fn wait_if_all_is_refused(lane: &Lane) {
    let in_a_row = lane.refused.lock().in_a_row();
    if in_a_row >= SUSPICIOUS {
        lane.set_store_healthy(false);
        lane.sleep(SUSPICION_DELAY).await;
    }
}

/// Handles a document that the store refused alone, having first refused its batch at `since`. If
/// the store writes others, the document is the cause: it gets its letter and is parked. Otherwise
/// its job comes again.
pub(crate) async fn set_aside(
    lane: &Lane,
    mut work: JobDelivery,
    error: &StoreError,
    since: Instant,
) {
    drop(work.flow_permit.take());
    let (since, now) = (lane.refused.at(since), lane.refused.at(Instant::now()));
    let cause = lane.refused.lock().refuse(&work.job.id, since, now);
    tell(lane, Some((&work.job.id, error)));
    let is_new = match cause {
        RefusalCause::Unknown { times } => {
            tracing::warn!(%error, "the store refuses a claim: the job comes again");
            return retry(lane, work, lane.provider.policy.ladder.after_failure(times)).await;
        }
        RefusalCause::Document { is_new } => is_new,
    };
    let sent_back = work.job.redrive_count > 0;
    let is_told = !is_new || !is_first_to_tell(lane, &work.job.id).await;
    if is_told && !sent_back {
        return acknowledge(work.acker).await;
    }
    tracing::error!(%error, "the store refuses this document: it is parked and gets a dead letter");
    let now = wall_clock();
    let letter = DeadLetter::of_refused(&work.job, error.to_string(), now, &lane.name);
    lane.metrics.count_dead(&lane.provider.id, letter.reason);
    bury(lane, &letter, work.acker).await;
}

/// Whether this worker writes the letter: of the workers that find the document, one does.
async fn is_first_to_tell(lane: &Lane, id: &DocumentId) -> bool {
    let leading = lane.election.lead(&role(lane, id), &lane.name, LETTER_TTL).await;
    // Two letters are better than none.
    leading.unwrap_or(true)
}

fn role(lane: &Lane, id: &DocumentId) -> String {
    format!("refused_document/{}/{id}", lane.provider.id)
}

/// Reports to operators how many there are, with the latest error.
fn tell(lane: &Lane, latest: Option<(&DocumentId, &StoreError)>) {
    let provider = &lane.provider.id;
    let documents = lane.refused.lock().len();
    lane.metrics.set_refused(provider, &lane.name, documents);
    let what = format!("refused documents of {provider}");
    if documents == 0 {
        lane.metrics.reports.set_problem(&what, None);
    } else if let Some((id, error)) = latest {
        let detail = format!(
            "{documents} documents cannot be written, {id} among them: {error}. Their grants are not \
             refreshed; the dead letters refused_document name them"
        );
        lane.metrics.reports.set_problem(&what, Some(detail));
    }
}

#[cfg(test)]
mod tests;
