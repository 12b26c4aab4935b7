//! The safeguards under an answer from the moment it arrives until its document is written.

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
    /// Where answers outlive this process; None if nothing local may hold them.
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

/// An answer in the safeguards.
pub(crate) struct LoggedAnswer {
    pub(crate) answer: SealedAnswer,
    entry: Option<JournalEntry>,
}

impl AnswerLog {
    /// Seals the answer that `commit` holds and appends it to the journal. None if it holds no new
    /// tokens. Nothing is awaited: between an answer and this there is no step to be killed at.
    pub(crate) fn record(&self, provider: &ProviderId, commit: &Commit) -> Option<LoggedAnswer> {
        let answer = self.sealer.seal(provider, commit, wall_clock())?;
        Some(self.append(answer))
    }

    /// The same for an answer of success whose tokens were not found. None if it cannot be sealed.
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
                    let (provider, id) = (&answer.provider, &answer.id);
                    tracing::error!(%provider, %id, %error,
                        "the journal does not take an answer: check its disk and folder");
                })
                .ok()
        });
        LoggedAnswer { answer, entry }
    }

    /// Puts an answer into the rescue queue, however often it takes. It stays in the journal, which
    /// tells by that that the answer is not known to be written.
    pub(crate) async fn rescue(&self, logged: &LoggedAnswer) {
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.queue.rescue(&logged.answer).await {
            let id = &logged.answer.id;
            tracing::error!(%id, %error, "the rescue queue does not take an answer: trying again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
        self.metrics.rescued.inc();
    }

    /// The answer is in its document.
    pub(crate) fn forget(&self, logged: &LoggedAnswer) {
        if let (Some(journal), Some(entry)) = (&self.journal, logged.entry) {
            journal.forget(entry);
        }
    }
}

#[cfg(test)]
mod tests;
