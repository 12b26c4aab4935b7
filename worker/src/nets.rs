//! The nets under an answer from the moment it arrives until its document is written.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{ProviderId, SealedAnswer};
use evergrant_ports::Backoff;
use evergrant_ports::{Commit, WorkQueue, wall_clock};
use evergrant_rescue::{Entry, Journal, Sealer, UnreadAnswer};

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
    pub(crate) queue: Arc<dyn WorkQueue>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) rescues: Rescues,
}

/// An answer in the nets.
pub(crate) struct Caught {
    pub(crate) answer: SealedAnswer,
    entry: Option<Entry>,
}

impl Nets {
    /// Seals the answer that `commit` holds and appends it to the journal. None if it holds no new
    /// tokens. Nothing is awaited: between an answer and this there is no step to be killed at.
    pub(crate) fn catch(&self, provider: &ProviderId, commit: &Commit) -> Option<Caught> {
        let answer = self.sealer.seal(provider, commit, wall_clock())?;
        Some(self.append(answer))
    }

    /// The same for an answer of success whose tokens were not found. None if it cannot be sealed.
    pub(crate) fn catch_unread(
        &self,
        provider: &ProviderId,
        unread: &UnreadAnswer,
    ) -> Option<Caught> {
        let answer = self.sealer.seal_unread(provider, unread, wall_clock())?;
        Some(self.append(answer))
    }

    fn append(&self, answer: SealedAnswer) -> Caught {
        let entry = self.journal.as_ref().and_then(|journal| {
            let appended = journal.append(&answer);
            appended
                .inspect_err(|error| {
                    self.metrics.journal_failures.inc();
                    let (provider, id) = (&answer.provider, &answer.id);
                    tracing::error!(%provider, %id, %error,
                        "the journal does not take an answer: check its disk and folder");
                })
                .ok()
        });
        Caught { answer, entry }
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

#[cfg(test)]
mod tests;
