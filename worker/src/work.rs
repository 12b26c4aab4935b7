//! What travels through a lane: a job with the right to acknowledge it, and the claim on its
//! document.

use evergrant_shared::domain::{Job, Timestamp};
use evergrant_shared::ports::Acker;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// A job, the right to acknowledge it, and its place among the claims ahead.
pub(crate) struct Work {
    pub(crate) job: Job,
    pub(crate) acker: Box<dyn Acker>,
    pub(crate) redelivered: bool,
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// A claim: who holds the leases and since when.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) owner: String,
    /// The store's clock at the claim.
    pub(crate) stored_at: Timestamp,
    /// When it was sent, by our own clock: the lease may be older than the answer tells, never
    /// younger.
    pub(crate) sent_at: Instant,
}

impl Claim {
    /// The store's clock now.
    pub(crate) fn now(&self) -> Timestamp {
        self.stored_at.plus(self.sent_at.elapsed())
    }
}
