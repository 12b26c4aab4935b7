//! Answers of other workers, written as those would have: opened, committed, and seen through where that
//! does not work at once.
//!
//! An answer that cannot be opened here, or that the store refuses, is the only copy of a token that lives,
//! and its document still holds the one that it has replaced. So that document is put out of reach before
//! anything else is done, and the answer is then passed on or tried for minutes before an operator is asked.

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

use crate::flow::call_timeout::CallTimeout;
use crate::flow::store_limiter::StorePermit;
use crate::recovery::answer_letter::letter_of;
use crate::recovery::answer_log::AnswerLog;
use crate::recovery::recovered_answers::RecoveryGuard;

/// How long the store may not take what this worker holds: it may be out of reach for this worker
/// alone, and whoever reaches it has to be quicker than the documents' leases.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer that the store refuses is tried, before an operator is asked.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an answer waits here that this worker cannot open, before it is passed on once more.
const FORWARD_DELAY: Duration = Duration::from_secs(3);
/// How many times it is passed on before an operator is asked: for as long as the store is tried.
const FORWARDS_MAX: u32 = 100;
/// How long the document of an answer that cannot be opened is tried to be put out of reach here, before
/// another worker tries.
const WITHHOLD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the store is left alone while the broker confirms an answer.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(500);

const UNREAD: &str = "the provider's success holds no tokens where its settings look for them: correct \
                      those, then redrive";

/// Settles rescued answers.
pub(crate) struct AnswerCommits {
    pub(crate) answer_log: Arc<AnswerLog>,
    pub(crate) store: Arc<dyn LeaseStore>,
    /// The worker's name, for dead letters.
    pub(crate) name: String,
    /// The providers whose answers can be read and whose dead letters there are.
    pub(crate) providers: Vec<Arc<Provider>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// An answer, and where it came from.
pub(crate) struct RescuedAnswer {
    body: Vec<u8>,
    /// What the body says, or why it is none.
    pub(crate) answer: Result<SealedAnswer, String>,
    source: AnswerSource,
    /// Since when it is in hand.
    pub(crate) since: Instant,
    /// Keeps takeovers waiting, until its document is out of reach. None if it cannot be told whose it is.
    pub(crate) held: Option<RecoveryGuard>,
}

/// Where an answer came from, and how that place is told that it is done.
pub(crate) enum AnswerSource {
    Queue(Box<dyn DeliveryAcker>),
    Journal(JournalEntry),
}

/// An answer that could be opened.
pub(crate) struct WritableAnswer {
    pub(crate) rescue: RescuedAnswer,
    commit: Commit,
}

/// Why an answer is not opened.
enum OpenFailure {
    /// Another worker may have its key.
    Foreign(String),
    /// Nobody can, however often it is tried.
    Unusable(String),
}

/// The right to one commit of what other workers hold as well.
pub(crate) struct CommitTicket {
    /// Taken until the store has answered, even if nobody waits for that any more.
    pub(crate) permit: OwnedSemaphorePermit,
    /// Over with the first try.
    pub(crate) turn: StorePermit,
}

/// The permit of a [`CommitTicket`].
type SharedPermit = Option<Arc<OwnedSemaphorePermit>>;

/// What became of answers.
enum WriteResult {
    Yes,
    Refused(String),
    /// The store did not say, or the worker stops.
    OutOfReach,
}

impl AnswerCommits {
    pub(crate) fn take(&self, body: Vec<u8>, source: AnswerSource) -> RescuedAnswer {
        let answer = SealedAnswer::decode(&body).map_err(|error| error.to_string());
        let held =
            answer.as_ref().ok().map(|answer| self.answer_log.recovered.take(answer.id.clone()));
        RescuedAnswer { body, answer, source, since: Instant::now(), held }
    }

    /// Commits answers as the workers that got them would have, and sees to those that cannot be. Returns
    /// those that are not written because the store is out of reach, or the worker stops. What only this
    /// worker has needs no ticket.
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
                Err(unopened) => self.spawn(|this| async move {
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
            WriteResult::OutOfReach => left = writable,
            // One that the store refuses must not hold up the others.
            WriteResult::Refused(_) => {
                let mut writable = writable.into_iter();
                while let Some(one) = writable.next() {
                    match self.write(std::slice::from_ref(&one), patience, &permit).await {
                        WriteResult::Yes => self.done(one.rescue.source).await,
                        WriteResult::Refused(why) => {
                            self.spawn(|this| async move { this.insist(one, why).await });
                        }
                        // Each of the others would be waited for as long again.
                        WriteResult::OutOfReach => {
                            left.push(one);
                            left.extend(writable.by_ref());
                        }
                    }
                }
            }
        }
        left
    }

    /// Does something in the background until the worker stops: then what it holds stays where it is.
    fn spawn<F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let working = self.stop.clone().run_until_cancelled_owned(work(Arc::clone(self)));
        self.tasks.spawn(working);
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

    /// Commits all at once, or none. A call that is not answered is not made again where it has a place: that
    /// stands for one.
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
                    Err(error) => tracing::debug!(%error, "rescued answers wait for the store"),
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        };
        let writing = self.stop.run_until_cancelled(tokio::time::timeout(patience, writing));
        writing.await.and_then(Result::ok).unwrap_or(WriteResult::OutOfReach)
    }

    /// Commits in a task of its own: what is dropped is the wait for it.
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

    /// An answer that the store refuses: it is tried on, for a rule may be mended, with its document out of
    /// reach. It becomes a dead letter only once that is so.
    async fn insist(&self, mut one: WritableAnswer, mut why: String) {
        let id = one.commit.id.clone();
        tracing::error!(%id, why, "the store refuses a rescued answer: trying again");
        let (began, mut withheld) = (Instant::now(), false);
        let (mut backoff, mut limit) = (Backoff::for_a_server(), CallTimeout::to_withhold());
        loop {
            if !withheld {
                match self.try_to_withhold(&mut one.rescue, &why, &mut limit).await {
                    Ok(true) => withheld = true,
                    Ok(false) => return self.of_no_use(one.rescue).await,
                    Err(error) => tracing::debug!(%id, %error, "not out of reach yet"),
                }
            }
            match self.write(std::slice::from_ref(&one), STORE_TIMEOUT, &None).await {
                WriteResult::Yes => return self.done(one.rescue.source).await,
                WriteResult::Refused(_) if withheld && began.elapsed() >= REFUSED_TIMEOUT => {
                    return self.bury(one.rescue, why).await;
                }
                WriteResult::Refused(reason) => why = reason,
                WriteResult::OutOfReach => match self.forward_or_write(one).await {
                    Some(kept) => one = kept,
                    None => return,
                },
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// An answer that another worker may be able to open: its document is put out of reach, and it goes
    /// round by way of the rescue queue.
    async fn pass_on(&self, mut rescue: RescuedAnswer, why: String) {
        let Ok(answer) = &mut rescue.answer else { return self.bury(rescue, why).await };
        let (id, passes) = (answer.id.clone(), answer.passes);
        answer.passes += 1;
        if passes == 0 {
            tracing::error!(%id, why, "a rescued answer cannot be opened: it is passed on");
            match tokio::time::timeout(WITHHOLD_TIMEOUT, self.withhold(&mut rescue, &why)).await {
                Ok(true) => {}
                Ok(false) => return self.of_no_use(rescue).await,
                // Still not out of reach: whoever has it next has to see to that.
                Err(_) => {
                    if let Ok(answer) = &mut rescue.answer {
                        answer.passes = 0;
                    }
                }
            }
        } else {
            // It is out of reach, so nobody has to wait for it.
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

    /// An answer that nobody can open: an operator is told, once its document is out of reach.
    async fn set_aside(&self, mut rescue: RescuedAnswer, why: String) {
        if self.withhold(&mut rescue, &why).await {
            self.bury(rescue, why).await;
        } else {
            self.of_no_use(rescue).await;
        }
    }

    /// Puts an answer into the rescue queue. A broker that takes its time to confirm must not use up what is
    /// left of the lease, so the store is tried meanwhile. Returns the answer if neither takes it.
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
                // The worker stops: the queue is all that is left.
                WriteResult::OutOfReach => (handing_on.as_mut().await, false),
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

    /// Puts an answer into the rescue queue. False if the queue does not take it.
    async fn forward(&self, rescue: &RescuedAnswer) -> bool {
        // What is no answer is buried.
        let Ok(answer) = &rescue.answer else { return false };
        let taken = self.answer_log.queue.rescue(answer).await;
        taken
            .inspect_err(
                |error| tracing::debug!(%error, "the rescue queue does not take an answer"),
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

    /// The document has another token by now, or is gone.
    async fn of_no_use(&self, rescue: RescuedAnswer) {
        if let Ok(SealedAnswer { provider, id, .. }) = &rescue.answer {
            tracing::info!(%provider, %id, "a rescued answer is of no use: its document has moved on");
        }
        self.done(rescue.source).await;
    }

    /// The answer is in its document, or nobody waits for it.
    async fn done(&self, source: AnswerSource) {
        self.answer_log.metrics.recovered.inc();
        self.leave(source, |journal, entry| journal.forget(entry)).await;
    }

    /// The answer is safe, but not in its document.
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
    let id = &answer.commit.id;
    let provider = answer.rescue.answer.as_ref().ok().map(|answer| answer.provider.to_string());
    let kept = result == CommitResult::Applied;
    tracing::info!(provider, %id, kept, "a rescued answer is settled");
}

#[cfg(test)]
mod tests;
