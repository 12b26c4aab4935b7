//! The invariant about acknowledgements: nothing is acknowledged that is not settled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evergrant_domain::{ClaimedDocument, DocumentId, GrantStatus, Job, Timestamp};

use tokio::time::Instant;

use super::bounds::EARLY;
use super::world::World;

/// Recent events of each document that settle a job.
#[derive(Default)]
pub(crate) struct JobHistory {
    /// How often something was written, or the job was sent on.
    changes: BTreeMap<DocumentId, u64>,
    /// When a claim last found that it is not due.
    not_due_at: BTreeMap<DocumentId, Timestamp>,
    /// Documents whose job is to come again, and was not sent on yet.
    postponed: BTreeSet<DocumentId>,
    /// When a job of each document was last certainly in its queue.
    published_at: BTreeMap<DocumentId, Instant>,
}

/// How long a published job is known until its document is marked: twice the slowest call.
const PUBLISHED_LATELY: Duration = Duration::from_secs(28);

/// The facts about a document when its job was delivered.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryFacts {
    pub(crate) job: Job,
    changes: u64,
    at: Timestamp,
}

impl World {
    /// Notes that the document was written, that its job was sent on, or that someone has edited
    /// it.
    pub(crate) fn changed(&self, id: &DocumentId) {
        self.with(|state| {
            *state.settled.changes.entry(id.clone()).or_default() += 1;
            state.settled.postponed.remove(id);
        });
    }

    /// Notes that the document expects its job again.
    pub(crate) fn postponed(&self, id: &DocumentId) {
        self.with(|state| state.settled.postponed.insert(id.clone()));
    }

    /// Notes that a job was published, or is lost on its way.
    pub(crate) fn published(&self, id: &DocumentId) {
        self.with(|state| state.settled.published_at.insert(id.clone(), Instant::now()));
    }

    /// Checks that a producer marks only documents whose jobs are in their queues.
    pub(crate) fn is_to_be_marked(&self, process: &str, ids: &[DocumentId]) {
        let missing = self.with(|state| {
            let is_published = |id: &&DocumentId| {
                let at = state.settled.published_at.get(*id);
                at.is_some_and(|at| at.elapsed() < PUBLISHED_LATELY)
            };
            ids.iter().find(|id| !is_published(id)).cloned()
        });
        // A suspended process does not know how long ago it published them.
        if let Some(id) = missing.filter(|_| !self.is_frozen_lately(process)) {
            self.violate(format!("{process} marks {id} as queued and its job is not confirmed"));
        }
    }

    /// Notes that a claim has read a document.
    pub(crate) fn looked_at(&self, id: &DocumentId, row: &ClaimedDocument, at: Timestamp) {
        if let ClaimedDocument::Present { grant, .. } = row
            && grant.next_refresh_at > at.plus(EARLY)
        {
            let now = self.now();
            self.with(|state| state.settled.not_due_at.insert(id.clone(), now));
        }
    }

    /// Notes that a message was delivered.
    pub(crate) fn delivered(&self, body: &[u8]) -> Option<DeliveryFacts> {
        let job = Job::decode(body).ok()?;
        let changes =
            self.with(|state| state.settled.changes.get(&job.id).copied().unwrap_or_default());
        Some(DeliveryFacts { job, changes, at: self.now() })
    }

    /// Checks an acknowledgement: its job must be settled.
    pub(crate) fn acknowledged(&self, process: &str, delivered: &DeliveryFacts) {
        let (id, generation) = (&delivered.job.id, delivered.job.generation);
        if self.is_poisoned(id) {
            return;
        }
        // Another delivery of the same job is checked when it is acknowledged.
        if self.broker.has_job_of(id) {
            return;
        }
        let (changes, not_due_at, is_postponed) = self.with(|state| {
            let settled = &state.settled;
            let changes = settled.changes.get(id).copied().unwrap_or_default();
            let not_due_at = settled.not_due_at.get(id).copied();
            (changes, not_due_at, settled.postponed.contains(id))
        });
        // If it is not due, the producer will publish it once it is.
        if !delivered.job.force && not_due_at.is_some_and(|at| at >= delivered.at) {
            return;
        }
        if is_postponed {
            self.violate(format!("{process} acknowledges a job of {id} that was not sent on"));
        }
        if changes > delivered.changes {
            return;
        }
        // A malformed document is reported by the one who holds its lease.
        let ClaimedDocument::Present { grant, .. } = self.store.look(id) else { return };
        let due = grant.next_refresh_at <= self.now();
        if grant.status == GrantStatus::Active && grant.generation == generation && due {
            self.violate(format!("{process} acknowledges a job of {id} that is not settled"));
        }
    }
}
