//! A job with the right to acknowledge it, and the claim on its document.

use std::time::Duration;

use evergrant_domain::{Job, Timestamp};
use evergrant_ports::DeliveryAcker;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{Span, error_span};

use crate::flow::steady_clock::{SteadyClock, SteadyTime};

/// A job, the right to acknowledge it, and its flow permit for a claim ahead.
pub(crate) struct JobDelivery {
    pub(crate) job: Job,
    pub(crate) acker: Box<dyn DeliveryAcker>,
    pub(crate) redelivered: bool,
    /// A caller waits for it, and no queue has it.
    pub(crate) on_demand: bool,
    pub(crate) flow_permit: Option<OwnedSemaphorePermit>,
}

impl JobDelivery {
    /// The span of this job under the claim of `owner`: every line that the job logs has its fields.
    pub(crate) fn span(&self, owner: &str) -> Span {
        let Job { provider, id, .. } = &self.job;
        // At the level of errors, or a filter of levels would take the fields from those.
        error_span!(parent: None, "job", %provider, %id, claim = owner)
    }
}

/// A claim: the owner of its leases, and when they began.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) owner: String,
    /// The store's time at the claim.
    pub(crate) stored_at: Timestamp,
    /// When the claim was sent, by our clock. The lease cannot have begun earlier.
    pub(crate) sent_at: Instant,
    /// The same by clocks that advance while the machine is suspended.
    pub(crate) sent_at_steady: SteadyTime,
}

impl Claim {
    /// Whether the claim was sent longer than `age` ago, by any clock. The lease may then be over,
    /// even if this process was suspended.
    pub(crate) fn is_older_than(&self, age: Duration, clock: &SteadyClock) -> bool {
        self.sent_at.elapsed().max(clock.now().since(self.sent_at_steady)) >= age
    }

    /// The store's time now.
    pub(crate) fn now(&self) -> Timestamp {
        self.stored_at.plus(self.sent_at.elapsed())
    }
}
