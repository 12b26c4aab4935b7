//! The nets under an answer from the moment it arrives until its document is written.

use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::backoff::Backoff;
use evergrant_shared::domain::{ProviderId, SealedAnswer, Timestamp};
use evergrant_shared::ports::{Commit, JobQueue};
use evergrant_shared::rescue::{Entry, Journal, Sealer};

use crate::metrics::WorkerMetrics;
use crate::rescues::Rescues;

/// What a worker needs to keep an answer that it cannot write at once.
pub struct RescueDeps {
    /// Seals and opens answers.
    pub sealer: Sealer,
    /// Where answers outlive this process; None if nothing local may hold them.
    pub journal: Option<Arc<dyn Journal>>,
    /// How long a commit may fail before its answer goes to the rescue queue.
    pub after: Duration,
}

/// The nets of a worker.
pub(crate) struct Nets {
    pub(crate) sealer: Sealer,
    pub(crate) journal: Option<Arc<dyn Journal>>,
    pub(crate) after: Duration,
    pub(crate) queue: Arc<dyn JobQueue>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) rescues: Rescues,
}

/// An answer in the nets.
pub(crate) struct Caught {
    answer: SealedAnswer,
    entry: Option<Entry>,
}

impl Nets {
    /// Seals the answer that `commit` holds and appends it to the journal. None if it holds no new
    /// tokens. Nothing is awaited: between an answer and this there is no step to be killed at.
    pub(crate) fn catch(&self, provider: &ProviderId, commit: &Commit) -> Option<Caught> {
        let answer = self.sealer.seal(provider, commit, Timestamp::of_this_machine())?;
        let entry = self.journal.as_ref().and_then(|journal| {
            let appended = journal.append(&answer);
            appended
                .inspect_err(|error| {
                    self.metrics.journal_failures.inc();
                    tracing::error!(%provider, id = %commit.id, %error,
                        "the journal does not take an answer: check its disk and folder");
                })
                .ok()
        });
        Some(Caught { answer, entry })
    }

    /// Puts an answer into the rescue queue, however often it takes. It stays in the journal, which
    /// tells by that that the answer is not known to be written.
    pub(crate) async fn rescue(&self, caught: &Caught) {
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.queue.rescue(&caught.answer).await {
            let id = &caught.answer.id;
            tracing::error!(%id, %error, "the rescue queue does not take an answer: trying again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
        self.metrics.rescued.inc();
    }

    /// The answer is in its document.
    pub(crate) fn forget(&self, caught: &Caught) {
        if let (Some(journal), Some(entry)) = (&self.journal, caught.entry) {
            journal.forget(entry);
        }
    }
}
