//! Nothing is acknowledged that is not settled.

use std::collections::BTreeMap;

use evergrant_shared::domain::{DocumentId, Job, Row, Status, Timestamp};

use super::world::World;

/// What happened to each document lately, as far as it settles a job.
#[derive(Default)]
pub(crate) struct Settled {
    /// How often something was written, or the job was sent on.
    changes: BTreeMap<DocumentId, u64>,
    /// When a claim found last that it is not due.
    not_due_at: BTreeMap<DocumentId, Timestamp>,
}

/// What was known of a document when a job of its was delivered.
#[derive(Debug, Clone)]
pub(crate) struct Delivered {
    pub(crate) job: Job,
    changes: u64,
    at: Timestamp,
}

impl World {
    /// The document was written, or its job was sent on, or someone has edited it.
    pub(crate) fn changed(&self, id: &DocumentId) {
        self.with(|state| *state.settled.changes.entry(id.clone()).or_default() += 1);
    }

    /// A claim has looked at a document.
    pub(crate) fn looked_at(&self, id: &DocumentId, row: &Row) {
        let now = self.now();
        if let Row::Present { grant, .. } = row
            && grant.next_refresh_at > now
        {
            self.with(|state| state.settled.not_due_at.insert(id.clone(), now));
        }
    }

    /// A message was delivered.
    pub(crate) fn delivered(&self, body: &[u8]) -> Option<Delivered> {
        let job = Job::decode(body).ok()?;
        let changes =
            self.with(|state| state.settled.changes.get(&job.id).copied().unwrap_or_default());
        Some(Delivered { job, changes, at: self.now() })
    }

    /// A delivery is acknowledged: its job must be settled.
    pub(crate) fn acknowledged(&self, process: &str, delivered: &Delivered) {
        let (id, generation) = (&delivered.job.id, delivered.job.generation);
        let (changes, not_due_at) = self.with(|state| {
            let changes = state.settled.changes.get(id).copied().unwrap_or_default();
            (changes, state.settled.not_due_at.get(id).copied())
        });
        let found_not_due = not_due_at.is_some_and(|at| at >= delivered.at);
        // Another delivery of the same job is judged when it is acknowledged.
        if changes > delivered.changes || found_not_due || self.broker.has_job_of(id) {
            return;
        }
        // Whoever cannot read it says so and leaves it to the one who holds its lease.
        let Row::Present { grant, .. } = self.store.look(id) else { return };
        let due = grant.next_refresh_at <= self.now();
        if grant.status == Status::Active && grant.generation == generation && due {
            self.violate(format!("{process} acknowledges a job of {id} that is not settled"));
        }
    }
}
