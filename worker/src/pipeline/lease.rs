//! Lease renewal for slow exchanges and commits.
//!
//! Documents that were claimed together are renewed together, by one call. Otherwise a store that
//! is slow for all callers would get one more call for each document, and be slower still.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::DocumentId;
use evergrant_ports::{LeaseStore, StoreError};
use futures::future::OptionFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::pipeline::job_delivery::Claim;

/// The leases that a lane renews. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LeaseRenewals {
    /// The duration of a fresh lease.
    lease: Duration,
    changes: mpsc::UnboundedSender<Change>,
}

/// A lease that is renewed until this is dropped.
pub(crate) struct LeaseGuard {
    leases: LeaseRenewals,
    claim: ClaimKey,
    id: DocumentId,
}

/// Documents with the same key are renewed by one call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClaimKey {
    owner: String,
    lease: Duration,
}

enum Change {
    Keep(ClaimKey, DocumentId),
    LetGo(ClaimKey, DocumentId),
}

impl LeaseRenewals {
    /// Starts the task that renews leases in `store`. It ends when the last clone is gone.
    pub(crate) fn start(store: Arc<dyn LeaseStore>, lease: Duration) -> Self {
        let (changes, receiver) = mpsc::unbounded_channel();
        tokio::spawn(RenewalTask::default().run(store, receiver));
        Self { lease, changes }
    }

    /// Waits for `work` and renews the lease of `id` whenever half of it is over. A lease that
    /// cannot be renewed does not stop `work`: a commit is conditional on the token that was sent.
    pub(crate) async fn keep_during<T>(
        &self,
        id: &DocumentId,
        claim: &Claim,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep_until(claim.sent_at + self.lease / 2) => {}
        }
        let _kept = self.renew_lease_while(id, &claim.owner, self.lease);
        work.await
    }

    /// Renews a lease at once, and again whenever half of it is over. Each renewal sets it to end
    /// after `lease`.
    pub(crate) fn renew_lease_while(
        &self,
        id: &DocumentId,
        owner: &str,
        lease: Duration,
    ) -> LeaseGuard {
        let claim = ClaimKey { owner: owner.to_owned(), lease };
        self.tell(Change::Keep(claim.clone(), id.clone()));
        LeaseGuard { leases: self.clone(), claim, id: id.clone() }
    }

    fn tell(&self, change: Change) {
        // The task is gone only when the process is ending.
        let _ = self.changes.send(change);
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.leases.tell(Change::LetGo(self.claim.clone(), self.id.clone()));
    }
}

/// How long a renewal waits for other documents of the same claim.
const RENEWAL_BATCH_DELAY: Duration = Duration::from_millis(10);

/// The most unanswered calls for one claim.
const UNANSWERED: usize = 2;

#[derive(Default)]
struct RenewalTask {
    groups: HashMap<ClaimKey, Group>,
    calls: JoinSet<RenewalEnd>,
}

struct Group {
    ids: HashSet<DocumentId>,
    /// When the next renewal is due.
    due: Instant,
    /// When the last renewal was sent.
    asked_at: Option<Instant>,
    unanswered: usize,
}

/// A renewal call that was answered.
struct RenewalEnd {
    claim: ClaimKey,
    asked_at: Instant,
    /// Whether it need not be repeated soon.
    is_final: bool,
}

impl RenewalTask {
    async fn run(
        mut self,
        store: Arc<dyn LeaseStore>,
        mut changes: mpsc::UnboundedReceiver<Change>,
    ) {
        loop {
            let next = self.groups.values().map(|group| group.due).min();
            tokio::select! {
                biased;
                change = changes.recv() => match change {
                    Some(change) => self.apply(change),
                    None => return,
                },
                Some(ended) = self.calls.join_next() => {
                    if let Ok(ended) = ended {
                        self.note(&ended);
                    }
                }
                Some(()) = OptionFuture::from(next.map(sleep_until)) => self.renew_all_due(&store),
            }
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Keep(claim, id) => {
                let (now, lease) = (Instant::now(), claim.lease);
                let group = self.groups.entry(claim);
                let group = group.or_insert_with(|| Group {
                    ids: HashSet::new(),
                    due: now + RENEWAL_BATCH_DELAY,
                    asked_at: None,
                    unanswered: 0,
                });
                group.ids.insert(id);
                // One call renews all documents of the claim, so a new one does not always need its
                // own.
                let soon = group.asked_at.map_or(now, |asked_at| now.max(asked_at + lease / 8));
                group.due = group.due.min(soon + RENEWAL_BATCH_DELAY);
            }
            Change::LetGo(claim, id) => {
                let Some(group) = self.groups.get_mut(&claim) else { return };
                group.ids.remove(&id);
                if group.ids.is_empty() {
                    self.groups.remove(&claim);
                }
            }
        }
    }

    fn renew_all_due(&mut self, store: &Arc<dyn LeaseStore>) {
        let now = Instant::now();
        for (claim, group) in self.groups.iter_mut().filter(|(_, group)| group.due <= now) {
            // If no answer comes before.
            group.due = now + claim.lease / 4;
            if group.unanswered < UNANSWERED {
                group.unanswered += 1;
                group.asked_at = Some(now);
                let ids: Vec<_> = group.ids.iter().cloned().collect();
                self.calls.spawn(renew(Arc::clone(store), claim.clone(), ids, now));
            }
        }
    }

    /// Schedules the next renewal: when half of the lease is over, or much sooner if the call
    /// failed.
    fn note(&mut self, ended: &RenewalEnd) {
        let Some(group) = self.groups.get_mut(&ended.claim) else { return };
        group.unanswered = group.unanswered.saturating_sub(1);
        let (lease, asked_at) = (ended.claim.lease, ended.asked_at);
        if !ended.is_final {
            group.due = group.due.min(Instant::now() + lease / 8);
        } else if group.due == asked_at + lease / 4 {
            group.due = asked_at + lease / 2;
        }
    }
}

/// Renews the leases of one claim.
async fn renew(
    store: Arc<dyn LeaseStore>,
    claim: ClaimKey,
    ids: Vec<DocumentId>,
    asked_at: Instant,
) -> RenewalEnd {
    let ClaimKey { owner, lease } = &claim;
    let renewed = all_or_each(&ids, |ids| store.renew(ids, owner, *lease)).await;
    if let Err(error) = &renewed {
        let documents = ids.len();
        tracing::warn!(%error, owner, documents, "leases were not renewed and may run out: trying again");
    }
    let is_final = matches!(renewed, Ok(()) | Err(StoreError::Refused { .. }));
    RenewalEnd { claim, asked_at, is_final }
}

/// Releases leases.
pub(crate) async fn release(store: &dyn LeaseStore, ids: &[DocumentId], owner: &str) {
    let released = all_or_each(ids, |ids| store.release(ids, owner)).await;
    if let Err(error) = released {
        tracing::warn!(%error, documents = ids.len(), "leases were not released: they end when their time runs out");
    }
}

/// Makes one call for all documents. If the store refuses to write one of them, it writes none of
/// the others; then each document gets its own call.
async fn all_or_each<'a, F>(
    ids: &'a [DocumentId],
    call: impl Fn(&'a [DocumentId]) -> F,
) -> Result<(), StoreError>
where
    F: Future<Output = Result<(), StoreError>>,
{
    let mut done = call(ids).await;
    if let (Err(StoreError::Refused { .. }), 2..) = (&done, ids.len()) {
        for id in ids {
            done = done.and(call(std::slice::from_ref(id)).await);
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::fakes::{FakeQueue, FakeStore, Fakes, until};

    const LEASE: Duration = Duration::from_secs(25);

    fn fakes() -> Fakes {
        Fakes::new(FakeStore::default(), FakeQueue::default())
    }

    fn ids(count: i64) -> Vec<DocumentId> {
        (0..count).map(DocumentId::Integer).collect()
    }

    fn keep_all(fakes: &Fakes, ids: &[DocumentId]) -> Vec<LeaseGuard> {
        ids.iter().map(|id| fakes.lane.leases.renew_lease_while(id, "worker/p/1", LEASE)).collect()
    }

    fn calls(fakes: &Fakes) -> Vec<usize> {
        fakes.store.renewed.lock().unwrap().iter().map(Vec::len).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_renews_a_claim_at_half_of_the_lease() {
        let fakes = fakes();
        let kept = keep_all(&fakes, &ids(64));
        tokio::time::sleep(LEASE).await;
        assert_eq!(calls(&fakes), [64, 64]);
        drop(kept);
        tokio::time::sleep(LEASE).await;
        assert_eq!(calls(&fakes).len(), 2, "nobody keeps them any more");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_renewal_is_repeated_before_the_leases_end() {
        let fakes = fakes();
        fakes.store.unanswered.store(1, Ordering::Relaxed);
        let _kept = keep_all(&fakes, &ids(2));
        tokio::time::sleep(LEASE / 2).await;
        assert_eq!(calls(&fakes), [2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_gets_two_renewals() {
        let fakes = fakes();
        fakes.store.unanswered.store(u32::MAX, Ordering::Relaxed);
        let _kept = keep_all(&fakes, &ids(64));
        tokio::time::sleep(10 * LEASE).await;
        assert_eq!(calls(&fakes), [64, 64]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_document_does_not_renew_the_others_at_once() {
        let fakes = fakes();
        let _kept = keep_all(&fakes, &ids(64));
        tokio::time::sleep(LEASE / 16).await;
        let late =
            fakes.lane.leases.renew_lease_while(&DocumentId::Integer(99), "worker/p/1", LEASE);
        tokio::time::sleep(LEASE / 4).await;
        assert_eq!(calls(&fakes), [64, 65]);
        drop(late);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_document_does_not_block_other_renewals() {
        let fakes = fakes();
        *fakes.store.refuses.lock().unwrap() = Some(DocumentId::Integer(0));
        let _kept = keep_all(&fakes, &ids(3));
        until(|| calls(&fakes).len() >= 4).await;
        assert_eq!(calls(&fakes)[..4], [3, 1, 1, 1]);
    }
}
