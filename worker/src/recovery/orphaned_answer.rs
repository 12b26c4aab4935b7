//! Answers of other workers: opened, committed, and followed through if that fails at first.
//!
//! An answer that this worker cannot open, or that the store refuses, is the only copy of a valid
//! token, and its document still holds the token that it replaced. So the document is withheld
//! first: nobody sends the old token. Then the answer is forwarded or retried for minutes before an
//! operator is asked.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::SealedAnswer;
use evergrant_ports::Backoff;
use evergrant_ports::{Commit, CommitResult, DeliveryAcker, LeaseStore, StoreError};
use evergrant_provider::Provider;
use evergrant_rescue::{AnswerJournal, JournalEntry, OpenedAnswer, UnsealableAnswer};
use futures::future::join_all;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, error_span};

use crate::flow::call_timeout::CallTimeout;
use crate::flow::store_limiter::StorePermit;
use crate::recovery::answer_letter::letter_of;
use crate::recovery::answer_log::AnswerLog;
use crate::recovery::recovered_answers::RecoveryGuard;

/// How long the store may fail to accept what this worker holds. It may be unreachable for this
/// worker alone, and a worker that reaches it must act before the documents' leases end.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer that the store refuses is retried before an operator is asked.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(300);
/// How long this worker keeps an answer that it cannot open before it forwards it again.
const FORWARD_DELAY: Duration = Duration::from_secs(3);
/// How often an answer is forwarded before an operator is asked; together about as long as the
/// store is retried.
const FORWARDS_MAX: u32 = 100;
/// How long this worker tries to withhold the document of an answer that it cannot open, before
/// another worker tries.
const WITHHOLD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the broker may confirm an answer before the store is tried at the same time.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(500);

const UNREAD: &str = "the provider's success holds no tokens where its settings look for them: correct \
                      those, then redrive";

/// Commits rescued answers.
pub(crate) struct AnswerCommits {
    pub(crate) answer_log: Arc<AnswerLog>,
    pub(crate) store: Arc<dyn LeaseStore>,
    /// The worker's name, for dead letters.
    pub(crate) name: String,
    /// The providers whose answers can be read and whose dead letters exist.
    pub(crate) providers: Vec<Arc<Provider>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// An answer and its source.
pub(crate) struct RescuedAnswer {
    body: Vec<u8>,
    /// The decoded body, or why it cannot be decoded.
    pub(crate) answer: Result<SealedAnswer, String>,
    source: AnswerSource,
    /// When this worker received it.
    pub(crate) since: Instant,
    /// Makes takeovers wait until the document is withheld. None if its document is unknown.
    pub(crate) held: Option<RecoveryGuard>,
}

impl RescuedAnswer {
    /// The span of this answer's recovery: every line about it has its fields.
    pub(crate) fn span(&self) -> Span {
        let answer = self.answer.as_ref().ok();
        let provider = answer.map(|answer| tracing::field::display(&answer.provider));
        let id = answer.map(|answer| tracing::field::display(&answer.id));
        // At the level of errors, or a filter of levels would take the fields from those.
        error_span!(parent: None, "recovery", provider, id)
    }
}

/// Where an answer came from, and how to finish it there.
pub(crate) enum AnswerSource {
    Queue(Box<dyn DeliveryAcker>),
    Journal(JournalEntry),
}

/// An answer that could be opened.
pub(crate) struct WritableAnswer {
    pub(crate) rescue: RescuedAnswer,
    commit: Commit,
}

/// Why an answer cannot be opened.
enum OpenFailure {
    /// Another worker may have the key.
    Foreign(String),
    /// No worker can open it.
    Unusable(String),
}

/// The right to one commit of answers that other workers may hold as well.
pub(crate) struct CommitTicket {
    /// Held until the store has answered, even if the wait has ended.
    pub(crate) permit: OwnedSemaphorePermit,
    /// Released after the first try.
    pub(crate) turn: StorePermit,
}

/// The permit of a [`CommitTicket`].
type SharedPermit = Option<Arc<OwnedSemaphorePermit>>;

/// The result of writing answers.
enum WriteResult {
    Yes,
    Refused(String),
    /// The store did not answer, or the worker is stopping.
    Unreachable,
}

impl AnswerCommits {
    pub(crate) fn take(&self, body: Vec<u8>, source: AnswerSource) -> RescuedAnswer {
        let answer = SealedAnswer::decode(&body).map_err(|error| error.to_string());
        let held =
            answer.as_ref().ok().map(|answer| self.answer_log.recovered.take(answer.id.clone()));
        RescuedAnswer { body, answer, source, since: Instant::now(), held }
    }

    /// Commits answers as their own workers would have, and follows up on those that cannot be
    /// committed. Returns those that are not written because the store is unreachable or the worker
    /// stops. Answers that only this worker holds need no ticket.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        batch: Vec<RescuedAnswer>,
        patience: Duration,
        ticket: Option<CommitTicket>,
    ) -> Vec<WritableAnswer> {
        let mut writable = Vec::with_capacity(batch.len());
        for rescue in batch {
            match self.open(&rescue) {
                Ok(commit) => writable.push(WritableAnswer { rescue, commit }),
                Err(unopened) => self.spawn(rescue.span(), |this| async move {
                    match unopened {
                        OpenFailure::Foreign(why) => this.pass_on(rescue, why).await,
                        OpenFailure::Unusable(why) => this.set_aside(rescue, why).await,
                    }
                }),
            }
        }
        let mut left = Vec::new();
        let (permit, turn) = ticket.map(|ticket| (Arc::new(ticket.permit), ticket.turn)).unzip();
        let written = self.write(&writable, patience, &permit).await;
        drop(turn);
        match written {
            WriteResult::Yes => {
                let done = writable.into_iter().map(|one| self.done(one.rescue.source));
                join_all(done).await;
            }
            WriteResult::Unreachable => left = writable,
            // One refused answer must not delay the others.
            WriteResult::Refused(_) => {
                let mut writable = writable.into_iter();
                while let Some(one) = writable.next() {
                    match self.write(std::slice::from_ref(&one), patience, &permit).await {
                        WriteResult::Yes => self.done(one.rescue.source).await,
                        WriteResult::Refused(why) => {
                            let span = one.rescue.span();
                            self.spawn(span, |this| async move { this.insist(one, why).await });
                        }
                        // Each of the others would wait as long again.
                        WriteResult::Unreachable => {
                            left.push(one);
                            left.extend(writable.by_ref());
                        }
                    }
                }
            }
        }
        left
    }

    /// Runs `work` in the background until the worker stops. Then the answer stays where it is.
    fn spawn<F>(self: &Arc<Self>, span: Span, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let working = self.stop.clone().run_until_cancelled_owned(work(Arc::clone(self)));
        self.tasks.spawn(working.instrument(span));
    }

    fn open(&self, rescue: &RescuedAnswer) -> Result<Commit, OpenFailure> {
        let answer = rescue.answer.as_ref().map_err(|why| OpenFailure::Unusable(why.clone()))?;
        match self.answer_log.sealer.open(answer) {
            Ok(OpenedAnswer::Tokens(commit)) => Ok(commit),
            Ok(OpenedAnswer::Unread(unread)) => {
                let read =
                    |provider: &Arc<Provider>| unread.read(&provider.dialect, &provider.policy);
                let provider = self.providers.iter().find(|one| one.id == answer.provider);
                provider.and_then(read).ok_or_else(|| OpenFailure::Unusable(UNREAD.to_owned()))
            }
            Err(error @ UnsealableAnswer::UnknownKey { .. }) => {
                Err(OpenFailure::Foreign(error.to_string()))
            }
            Err(error @ UnsealableAnswer::Damaged) => Err(OpenFailure::Unusable(error.to_string())),
        }
    }

    /// Commits all answers or none. A call with a permit is not repeated while it is unanswered,
    /// because the permit stands for one call.
    async fn write(
        &self,
        answers: &[WritableAnswer],
        patience: Duration,
        permit: &SharedPermit,
    ) -> WriteResult {
        if answers.is_empty() {
            return WriteResult::Yes;
        }
        let commits: Vec<_> = answers.iter().map(|answer| answer.commit.clone()).collect();
        let writing = async {
            let (mut backoff, mut limit) = (Backoff::for_an_answer(), CallTimeout::to_write());
            loop {
                let call = self.commit(&commits, permit);
                let committed = match permit {
                    Some(_) => call.await,
                    None => limit.hold("commit", call).await,
                };
                match committed {
                    Ok(committed) => {
                        let settled = answers.iter().zip(committed);
                        settled.for_each(|(answer, result)| report(answer, result));
                        return WriteResult::Yes;
                    }
                    Err(error @ StoreError::Refused { .. }) => {
                        return WriteResult::Refused(error.to_string());
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the store is unavailable for rescued answers: trying again")
                    }
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        };
        let writing = self.stop.run_until_cancelled(tokio::time::timeout(patience, writing));
        writing.await.and_then(Result::ok).unwrap_or(WriteResult::Unreachable)
    }

    /// Commits in a task of its own, so that dropping the future ends only the wait.
    async fn commit(
        &self,
        commits: &[Commit],
        permit: &SharedPermit,
    ) -> Result<Vec<CommitResult>, StoreError> {
        let (store, commits, permit) = (self.store.clone(), commits.to_vec(), permit.clone());
        let committing = tokio::spawn(async move {
            let committed = store.commit(&commits).await;
            drop(permit);
            committed
        });
        committing.await.unwrap_or_else(|failed| {
            let reason = failed.to_string();
            Err(StoreError::Unavailable { operation: "commit", reason })
        })
    }

    /// Retries an answer that the store refuses, because a rule may be corrected, with its document
    /// withheld. It becomes a dead letter only once the document is withheld.
    async fn insist(&self, mut one: WritableAnswer, mut why: String) {
        tracing::error!(
            why,
            "the store refuses a rescued answer: withholding its document and trying again"
        );
        let (began, mut withheld) = (Instant::now(), false);
        let (mut backoff, mut limit) = (Backoff::for_a_server(), CallTimeout::to_withhold());
        loop {
            if !withheld {
                match self.try_to_withhold(&mut one.rescue, &why, &mut limit).await {
                    Ok(true) => withheld = true,
                    Ok(false) => return self.of_no_use(one.rescue).await,
                    Err(error) => {
                        tracing::debug!(%error, "the document is not withheld yet: trying again")
                    }
                }
            }
            match self.write(std::slice::from_ref(&one), STORE_TIMEOUT, &None).await {
                WriteResult::Yes => return self.done(one.rescue.source).await,
                WriteResult::Refused(_) if withheld && began.elapsed() >= REFUSED_TIMEOUT => {
                    return self.bury(one.rescue, why).await;
                }
                WriteResult::Refused(reason) => why = reason,
                WriteResult::Unreachable => match self.forward_or_write(one).await {
                    Some(kept) => one = kept,
                    None => return,
                },
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Forwards an answer that another worker may be able to open, through the rescue queue, with
    /// its document withheld.
    async fn pass_on(&self, mut rescue: RescuedAnswer, why: String) {
        let Ok(answer) = &mut rescue.answer else { return self.bury(rescue, why).await };
        let passes = answer.passes;
        answer.passes += 1;
        if passes == 0 {
            tracing::error!(
                why,
                "a rescued answer cannot be opened: forwarding it to other workers"
            );
            match tokio::time::timeout(WITHHOLD_TIMEOUT, self.withhold(&mut rescue, &why)).await {
                Ok(true) => {}
                Ok(false) => return self.of_no_use(rescue).await,
                // Not withheld yet: the next worker has to try.
                Err(_) => {
                    if let Ok(answer) = &mut rescue.answer {
                        answer.passes = 0;
                    }
                }
            }
        } else {
            // The document is withheld, so no takeover has to wait.
            rescue.held = None;
            tokio::time::sleep(FORWARD_DELAY).await;
        }
        if passes >= FORWARDS_MAX {
            return self.bury(rescue, why).await;
        }
        let mut backoff = Backoff::for_a_server();
        while !self.forward(&rescue).await {
            tokio::time::sleep(backoff.next_wait()).await;
        }
        self.left_unwritten(rescue.source).await;
    }

    /// Gives up an answer that no worker can open: once its document is withheld, it becomes a dead
    /// letter.
    async fn set_aside(&self, mut rescue: RescuedAnswer, why: String) {
        if self.withhold(&mut rescue, &why).await {
            self.bury(rescue, why).await;
        } else {
            self.of_no_use(rescue).await;
        }
    }

    /// Puts an answer into the rescue queue. A slow confirm must not use up the rest of the lease,
    /// so the store is tried at the same time. Returns the answer if neither accepts it.
    pub(crate) async fn forward_or_write(&self, one: WritableAnswer) -> Option<WritableAnswer> {
        let writing = async {
            tokio::time::sleep(CONFIRM_TIMEOUT).await;
            self.write(std::slice::from_ref(&one), Duration::MAX, &None).await
        };
        let mut handing_on = Box::pin(self.forward(&one.rescue));
        let (is_taken, is_written) = tokio::select! {
            biased;
            is_taken = &mut handing_on => (is_taken, false),
            written = writing => match written {
                WriteResult::Yes => (false, true),
                WriteResult::Refused(_) => (false, false),
                // The worker is stopping: only the queue remains.
                WriteResult::Unreachable => (handing_on.as_mut().await, false),
            },
        };
        drop(handing_on);
        match (is_taken, is_written) {
            (true, _) => self.left_unwritten(one.rescue.source).await,
            (_, true) => self.done(one.rescue.source).await,
            (false, false) => return Some(one),
        }
        None
    }

    /// Puts an answer into the rescue queue. False if the queue does not accept it.
    async fn forward(&self, rescue: &RescuedAnswer) -> bool {
        // A body that is not an answer becomes a dead letter instead.
        let Ok(answer) = &rescue.answer else { return false };
        let taken = self.answer_log.queue.rescue(answer).await;
        taken
            .inspect_err(
                |error| tracing::debug!(%error, "the rescue queue does not accept an answer"),
            )
            .is_ok()
    }

    async fn bury(&self, rescue: RescuedAnswer, why: String) {
        tracing::error!(why, "a rescued answer cannot be written: it becomes a dead letter");
        let answer = rescue.answer.ok();
        let providers = self.providers.iter().map(|provider| &provider.id);
        let Some(letter) = letter_of(rescue.body, answer, why, providers, &self.name) else {
            return;
        };
        self.answer_log.metrics.count_dead(&letter.provider, letter.reason);
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.answer_log.queue.bury(&letter).await {
            tracing::error!(%error, "a rescued answer's dead letter is not published: trying again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
        self.answer_log.metrics.recovered.inc();
        self.left_unwritten(rescue.source).await;
    }

    /// Finishes an answer whose document has another token by now, or is gone.
    async fn of_no_use(&self, rescue: RescuedAnswer) {
        tracing::info!("a rescued answer is not needed: its document has changed meanwhile");
        self.done(rescue.source).await;
    }

    /// Finishes an answer that is in its document, or that is not needed.
    async fn done(&self, source: AnswerSource) {
        self.answer_log.metrics.recovered.inc();
        self.leave(source, |journal, entry| journal.forget(entry)).await;
    }

    /// Finishes an answer that is stored safely elsewhere.
    async fn left_unwritten(&self, source: AnswerSource) {
        self.leave(source, |journal, entry| journal.forward(entry)).await;
    }

    async fn leave(
        &self,
        source: AnswerSource,
        forget: impl FnOnce(&dyn AnswerJournal, JournalEntry),
    ) {
        match (source, &self.answer_log.journal) {
            (AnswerSource::Queue(acker), _) => crate::pipeline::settle::acknowledge(acker).await,
            (AnswerSource::Journal(entry), Some(journal)) => forget(&**journal, entry),
            (AnswerSource::Journal(_), None) => {}
        }
    }
}

fn report(answer: &WritableAnswer, result: CommitResult) {
    let kept = result == CommitResult::Applied;
    answer.rescue.span().in_scope(|| tracing::info!(kept, "a rescued answer is settled"));
}

#[cfg(test)]
mod tests;
