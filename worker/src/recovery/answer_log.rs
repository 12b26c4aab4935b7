//! The safeguards of an answer from its arrival until its commit: a write-ahead journal and the
//! rescue queue.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{ProviderId, SealedAnswer};
use evergrant_ports::Backoff;
use evergrant_ports::{Commit, WorkQueue, wall_clock};
use evergrant_rescue::{AnswerJournal, AnswerSealer, JournalEntry, UnreadAnswer};

use crate::metrics::WorkerMetrics;
use crate::recovery::recovered_answers::RecoveredAnswers;

/// What a worker needs to keep an answer that it cannot write at once.
pub struct RescueDeps {
    /// Seals and opens answers.
    pub sealer: AnswerSealer,
    /// The journal, in which answers outlive this process; None if nothing may be stored locally.
    pub journal: Option<Arc<dyn AnswerJournal>>,
    /// How long a commit may fail before its answer goes to the rescue queue.
    pub after: Duration,
}

/// The safeguards of a worker.
pub(crate) struct AnswerLog {
    pub(crate) sealer: AnswerSealer,
    pub(crate) journal: Option<Arc<dyn AnswerJournal>>,
    pub(crate) after: Duration,
    pub(crate) queue: Arc<dyn WorkQueue>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) recovered: RecoveredAnswers,
}

/// An answer that the safeguards hold.
pub(crate) struct LoggedAnswer {
    pub(crate) answer: SealedAnswer,
    entry: Option<JournalEntry>,
}

impl AnswerLog {
    /// Seals the answer in `commit` and appends it to the journal. None if it holds no new tokens.
    /// Not async: a worker cannot be stopped between the arrival of an answer and this.
    pub(crate) fn record(&self, provider: &ProviderId, commit: &Commit) -> Option<LoggedAnswer> {
        let answer = self.sealer.seal(provider, commit, wall_clock())?;
        Some(self.append(answer))
    }

    /// The same for a success whose tokens were not found. None if it cannot be sealed.
    pub(crate) fn record_unread(
        &self,
        provider: &ProviderId,
        unread: &UnreadAnswer,
    ) -> Option<LoggedAnswer> {
        let answer = self.sealer.seal_unread(provider, unread, wall_clock())?;
        Some(self.append(answer))
    }

    fn append(&self, answer: SealedAnswer) -> LoggedAnswer {
        let entry = self.journal.as_ref().and_then(|journal| {
            let appended = journal.append(&answer);
            appended
                .inspect_err(|error| {
                    self.metrics.journal_failures.inc();
                    tracing::error!(%error, "the answer journal refuses an answer: check its disk and folder");
                })
                .ok()
        });
        LoggedAnswer { answer, entry }
    }

    /// Puts an answer into the rescue queue, however many tries it takes. It also stays in the
    /// journal, because it is not known to be written.
    pub(crate) async fn rescue(&self, logged: &LoggedAnswer) {
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.queue.rescue(&logged.answer).await {
            tracing::error!(%error, "the rescue queue does not accept an answer: trying again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
        self.metrics.rescued.inc();
    }

    /// Removes an answer that is in its document.
    pub(crate) fn forget(&self, logged: &LoggedAnswer) {
        if let (Some(journal), Some(entry)) = (&self.journal, logged.entry) {
            journal.forget(entry);
        }
    }
}

#[cfg(test)]
mod tests;
