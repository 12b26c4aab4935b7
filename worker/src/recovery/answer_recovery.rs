//! Recovers answers that other workers could not commit, from the rescue queue and from the
//! journals of dead processes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use evergrant_ports::Backoff;
use evergrant_ports::{Delivery, DeliveryStream};
use evergrant_rescue::OrphanedAnswer;
use futures::future::{OptionFuture, join_all};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tracing::Instrument;

use crate::flow::away::until_it_answers;
use crate::flow::store_limiter::{self, StoreLimiter};
use crate::recovery::orphaned_answer::{
    AnswerCommits, AnswerSource, CommitTicket, RescuedAnswer, STORE_TIMEOUT,
};

/// The most answers of other workers that are held at once. It includes those that wait to be
/// forwarded, so it is more than are committed at once.
const PREFETCH: u16 = 512;
/// The most answers in one commit.
const BATCH: usize = 64;
/// The most unanswered commits, including those whose wait has ended: a store that is slow for all
/// callers must not get the same work again and again.
const AT_ONCE: usize = 2;
/// How often to scan for journals of dead processes.
const ORPHAN_SCAN_INTERVAL: Duration = Duration::from_millis(500);
/// The upper limit of the timeout for a slow store.
const STORE_TIMEOUT_MAX: Duration = Duration::from_secs(12);

/// Empties the rescue queue and the journals of dead processes.
pub(crate) struct AnswerRecovery {
    pub(crate) recovery: Arc<AnswerCommits>,
    /// Limits store calls for the rescue queue; claims and commits need permits as well.
    store_limiter: StoreLimiter,
    /// See [`AT_ONCE`].
    commit_permits: Arc<Semaphore>,
}

/// How much work the store gets at once, and how long it may take. A slow store gets less work and
/// more time.
struct RecoveryLoad {
    batch: usize,
    patience: Duration,
}

impl RecoveryLoad {
    const FULL: Self = Self { batch: BATCH, patience: STORE_TIMEOUT };

    fn was_written(&mut self) {
        self.batch = (self.batch * 2).min(BATCH);
        self.patience = (self.patience / 2).max(STORE_TIMEOUT);
    }

    fn was_not_written(&mut self) {
        self.batch = (self.batch / 2).max(1);
        self.patience = (self.patience * 2).min(STORE_TIMEOUT_MAX);
    }
}

impl AnswerRecovery {
    pub(crate) fn new(recovery: AnswerCommits, store_limiter: StoreLimiter) -> Self {
        let commit_permits = Arc::new(Semaphore::new(AT_ONCE));
        Self { recovery: Arc::new(recovery), store_limiter, commit_permits }
    }

    /// Runs until the worker stops, then finishes what it has begun.
    pub(crate) async fn run(self: Arc<Self>) {
        self.recovery.tasks.spawn(Arc::clone(&self).adopt_orphans());
        let mut backoff = Backoff::for_a_server();
        let mut load = RecoveryLoad::FULL;
        loop {
            // An unresponsive broker must not delay the shutdown.
            let consuming = self.recovery.answer_log.queue.consume_rescues(PREFETCH);
            let Some(consuming) = self.recovery.stop.run_until_cancelled(consuming).await else {
                break;
            };
            match consuming {
                Ok(intake) => {
                    backoff.reset();
                    match self.serve(intake, &mut load).await {
                        ConsumerEnd::Lost => load = RecoveryLoad::FULL,
                        ConsumerEnd::CutOff => load.was_not_written(),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot consume the rescue queue: trying again")
                }
            }
            self.sleep(backoff.next_wait()).await;
        }
        self.recovery.tasks.close();
        self.recovery.tasks.wait().await;
    }

    /// Serves one consumer. If the store is unreachable, the consumer ends, so that its deliveries
    /// go to a worker that can write them; this returns when the store answers again.
    async fn serve(
        &self,
        mut intake: Box<dyn DeliveryStream>,
        load: &mut RecoveryLoad,
    ) -> ConsumerEnd {
        let serving = self.recovery.answer_log.recovered.serve();
        // Every arriving answer is registered at once, so that a takeover here knows of it.
        let mut waiting: VecDeque<RescuedAnswer> = VecDeque::new();
        let (mut turn, mut settling) = (self.store_limiter.queue(), JoinSet::new());
        let cut_off = loop {
            let oldest = waiting.front().map(|rescue| rescue.since + load.patience);
            tokio::select! {
                biased;
                () = self.recovery.stop.cancelled() => break false,
                Some(all_written) = settling.join_next() => {
                    match all_written {
                        Ok(false) => break true,
                        Ok(true) | Err(_) => load.was_written(),
                    }
                }
                delivery = intake.next() => match delivery {
                    Some(delivery) => waiting.push_back(self.of_queue(delivery)),
                    None => break false,
                },
                Some(()) = OptionFuture::from(oldest.map(sleep_until)) => break true,
                ticket = self.ticket(&mut turn), if !waiting.is_empty() => {
                    let batch = waiting.drain(..load.batch.min(waiting.len())).collect();
                    let (this, patience) = (Arc::clone(&self.recovery), load.patience);
                    let settling_batch = async move {
                        this.settle(batch, patience, Some(ticket)).await.is_empty()
                    };
                    settling.spawn(self.recovery.tasks.track_future(settling_batch));
                }
            }
        };
        // An abandoned position in the queue would block other callers.
        drop((serving, turn));
        intake.stop().await;
        settling.detach_all();
        if !cut_off {
            return ConsumerEnd::Lost;
        }
        // Dropping the consumer returns its unacknowledged deliveries.
        drop((intake, waiting));
        tracing::warn!("the store is unreachable: leaving rescued answers to other workers");
        until_it_answers(&*self.recovery.store, &self.recovery.stop).await;
        ConsumerEnd::CutOff
    }

    async fn ticket(&self, turn: &mut store_limiter::PermitQueue) -> CommitTicket {
        let permit = Arc::clone(&self.commit_permits).acquire_owned().await;
        CommitTicket {
            permit: permit.expect("the semaphore is never closed"),
            turn: turn.next().await,
        }
    }

    async fn adopt_orphans(self: Arc<Self>) {
        let Some(journal) = self.recovery.answer_log.journal.clone() else { return };
        let mut told = false;
        while !self.recovery.stop.is_cancelled() {
            match journal.adopt_orphans() {
                Ok(left) => {
                    told = false;
                    self.take_over(left);
                }
                Err(error) if std::mem::replace(&mut told, true) => {
                    tracing::debug!(%error, "cannot scan for journals of dead workers: trying again");
                }
                Err(error) => tracing::error!(%error, "cannot scan for journals of dead workers: \
                    check the folder of rescue.journal; trying again"),
            }
            self.sleep(ORPHAN_SCAN_INTERVAL).await;
        }
    }

    fn take_over(self: &Arc<Self>, left: Vec<OrphanedAnswer>) {
        if !left.is_empty() {
            let answers = left.len();
            tracing::warn!(answers, "a worker has died: committing the answers in its journal");
        }
        // All of them are registered from now on.
        let all: Vec<_> = left.into_iter().map(|left| self.of_journal(left)).collect();
        let mut all = all.into_iter().peekable();
        while all.peek().is_some() {
            let (this, batch) = (Arc::clone(self), all.by_ref().take(BATCH).collect());
            self.recovery.tasks.spawn(async move { this.settle_here_or_elsewhere(batch).await });
        }
    }

    /// Settles answers that only this worker holds. What it cannot write goes to the rescue queue,
    /// where other workers find it.
    async fn settle_here_or_elsewhere(&self, mut batch: Vec<RescuedAnswer>) {
        while !batch.is_empty() && !self.recovery.stop.is_cancelled() {
            let unwritten = self.recovery.settle(batch, STORE_TIMEOUT, None).await;
            if self.recovery.stop.is_cancelled() {
                return;
            }
            // Concurrently: one slow confirm must not delay the others.
            let handed_on = unwritten.into_iter().map(|one| {
                let span = one.rescue.span();
                self.recovery.forward_or_write(one).instrument(span)
            });
            let kept = join_all(handed_on).await;
            batch = kept.into_iter().flatten().map(|kept| kept.rescue).collect();
        }
    }

    fn of_queue(&self, delivery: Delivery) -> RescuedAnswer {
        self.recovery.take(delivery.body, AnswerSource::Queue(delivery.acker))
    }

    fn of_journal(&self, left: OrphanedAnswer) -> RescuedAnswer {
        self.recovery.take(left.line, AnswerSource::Journal(left.entry))
    }

    async fn sleep(&self, wait: Duration) {
        tokio::select! {
            biased;
            () = self.recovery.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Why a consumer of the rescue queue ended.
enum ConsumerEnd {
    /// The worker is stopping, or the broker ended it.
    Lost,
    /// The store was unreachable and answers again.
    CutOff,
}
