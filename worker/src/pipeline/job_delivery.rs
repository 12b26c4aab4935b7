//! What travels through a lane: a job with the right to acknowledge it, and the claim on its
//! document.

use std::time::Duration;

use evergrant_domain::{Job, Timestamp};
use evergrant_ports::DeliveryAcker;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::flow::steady_clock::{SteadyClock, SteadyTime};

/// A job, the right to acknowledge it, and its permit among the claims ahead.
pub(crate) struct JobDelivery {
    pub(crate) job: Job,
    pub(crate) acker: Box<dyn DeliveryAcker>,
    pub(crate) redelivered: bool,
    pub(crate) flow_permit: Option<OwnedSemaphorePermit>,
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
    /// The same by clocks that don't stand still while the machine is suspended.
    pub(crate) sent_at_steady: SteadyTime,
}

impl Claim {
    /// Whether so much has passed since it was sent, by any clock: then the lease may be over, however
    /// little of it this process has seen.
    pub(crate) fn is_older_than(&self, age: Duration, clock: &SteadyClock) -> bool {
        self.sent_at.elapsed().max(clock.now().since(self.sent_at_steady)) >= age
    }

    /// The store's clock now.
    pub(crate) fn now(&self) -> Timestamp {
        self.stored_at.plus(self.sent_at.elapsed())
    }
}
