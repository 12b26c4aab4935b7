//! The console's bulk action. There is one at a time, because two would take letters from each
//! other.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use evergrant_domain::Timestamp;
use evergrant_domain::audit::ActionOutcome;
use evergrant_ports::wall_clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::format;
use evergrant_operations::bulk::{BulkKind, BulkRequest};

/// An operator's order for dead letters.
pub(super) struct Order {
    pub(super) request: BulkRequest,
    /// A description of the letters.
    pub(super) which: String,
    /// How many there are, if they were counted.
    pub(super) matched: Option<u64>,
    pub(super) who: String,
    pub(super) why: String,
}

/// A bulk action, during its run and afterwards.
#[derive(Debug, Clone)]
pub(super) struct BulkProgress {
    pub(super) kind: BulkKind,
    pub(super) who: String,
    pub(super) why: String,
    /// A description of the letters.
    pub(super) which: String,
    /// The most letters a second.
    pub(super) rps: Option<NonZeroU32>,
    pub(super) began_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) matched: Option<u64>,
    pub(super) done: u64,
    pub(super) left: u64,
    pub(super) outcome: ActionOutcome,
    pub(super) detail: String,
}

impl BulkProgress {
    /// The progress of a new action.
    pub(super) fn new(order: &Order) -> Self {
        Self {
            kind: order.request.kind,
            who: order.who.clone(),
            why: order.why.clone(),
            which: order.which.clone(),
            rps: order.request.per_second,
            began_at: wall_clock(),
            ended_at: None,
            matched: order.matched,
            done: 0,
            left: 0,
            outcome: ActionOutcome::Running,
            detail: String::new(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.outcome == ActionOutcome::Running
    }

    /// A sentence.
    pub(super) fn words(&self) -> String {
        let since = format::clock(self.began_at);
        format!("{} is under way ({}, by {}, since {since}).", self.verb(), self.which, self.who)
    }

    pub(super) const fn verb(&self) -> &'static str {
        match self.kind {
            BulkKind::Redrive => "Redrive",
            BulkKind::Discard => "Discard",
        }
    }
}

/// The bulk action that runs, or has run last.
#[derive(Default)]
pub(super) struct Bulk {
    last: watch::Sender<Option<BulkProgress>>,
    cancel: Mutex<CancellationToken>,
}

impl Bulk {
    /// The action that runs.
    pub(super) fn running(&self) -> Option<BulkProgress> {
        self.last().filter(BulkProgress::is_running)
    }

    /// The action that runs or has run last.
    pub(super) fn last(&self) -> Option<BulkProgress> {
        self.last.borrow().clone()
    }

    pub(super) fn changes(&self) -> watch::Receiver<Option<BulkProgress>> {
        self.last.subscribe()
    }

    /// Begins an action, unless another one runs. Returns the token that ends it early.
    pub(super) fn begin(&self, running: BulkProgress) -> Option<CancellationToken> {
        let begun = self.last.send_if_modified(|last| {
            let free = !last.as_ref().is_some_and(BulkProgress::is_running);
            if free {
                *last = Some(running);
            }
            free
        });
        begun.then(|| {
            let token = CancellationToken::new();
            *self.cancel.lock().unwrap_or_else(PoisonError::into_inner) = token.clone();
            token
        })
    }

    /// Notes its progress.
    pub(super) fn tell(&self, change: impl FnOnce(&mut BulkProgress)) {
        self.last.send_modify(|last| {
            if let Some(running) = last {
                change(running);
            }
        });
    }

    /// Notes that it could not begin.
    pub(super) fn fail(&self, error: &str) {
        self.tell(|running| {
            running.outcome = ActionOutcome::Failed;
            running.ended_at = Some(wall_clock());
            error.clone_into(&mut running.detail);
        });
    }

    /// Ends the action that runs. What it has done stays done. False if none runs.
    pub(super) fn cancel(&self) -> bool {
        let runs = self.running().is_some();
        if runs {
            self.cancel.lock().unwrap_or_else(PoisonError::into_inner).cancel();
        }
        runs
    }
}

/// Shared by pages and the task that runs the action.
pub(super) type SharedBulk = Arc<Bulk>;
