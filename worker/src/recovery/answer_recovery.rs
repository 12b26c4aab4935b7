//! Finds what other workers could not commit: the rescue queue, and the journals of processes that are
//! gone.

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

use crate::flow::away::until_it_answers;
use crate::flow::store_limiter::{self, StoreLimiter};
use crate::recovery::orphaned_answer::{
    AnswerCommits, AnswerSource, CommitTicket, RescuedAnswer, STORE_TIMEOUT,
};

/// Answers of other workers that are in hand at once. Those that wait to be passed on are among them, so
/// it is more than are committed at once.
const PREFETCH: u16 = 512;
/// Answers in one commit at most.
const BATCH: usize = 64;
/// Commits that the store has not answered, those included that nobody waits for any more: a store that is
/// slow for everybody must not be given the same over and over beside what it has.
const AT_ONCE: usize = 2;
/// How often it is looked for journals of processes that are gone.
const ORPHAN_SCAN_INTERVAL: Duration = Duration::from_millis(500);
/// A store that is slow for everybody is given more and more time, up to this much.
const STORE_TIMEOUT_MAX: Duration = Duration::from_secs(12);

/// Empties the rescue queue and the journals that others left.
pub(crate) struct AnswerRecovery {
    pub(crate) recovery: Arc<AnswerCommits>,
    /// When it may call the store for the rescue queue: claims and commits need permits as well.
    store_limiter: StoreLimiter,
    /// See [`AT_ONCE`].
    commit_permits: Arc<Semaphore>,
}

/// What the store is given at once, and how long it may take. A store that is too slow is given less, and
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

    /// Works until the worker stops, and finishes what it has begun.
    pub(crate) async fn run(self: Arc<Self>) {
        self.recovery.tasks.spawn(Arc::clone(&self).adopt_orphans());
        let mut backoff = Backoff::for_a_server();
        let mut load = RecoveryLoad::FULL;
        loop {
            // A broker that does not answer must not hold up the end.
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
                    tracing::warn!(%error, "cannot consume rescued answers: trying again")
                }
            }
            self.sleep(backoff.next_wait()).await;
        }
        self.recovery.tasks.close();
        self.recovery.tasks.wait().await;
    }

    /// One consumer's life. It ends when the store is out of reach, and what it holds goes to a
    /// worker that can write it; it is over when this worker can.
    async fn serve(
        &self,
        mut intake: Box<dyn DeliveryStream>,
        load: &mut RecoveryLoad,
    ) -> ConsumerEnd {
        let serving = self.recovery.answer_log.recovered.serve();
        // All that comes is in hand at once: a takeover here is to know of it.
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
        // A turn that nobody waits for would keep others from theirs.
        drop((serving, turn));
        intake.stop().await;
        settling.detach_all();
        if !cut_off {
            return ConsumerEnd::Lost;
        }
        // With the consumer goes what it was sent and nobody has acknowledged.
        drop((intake, waiting));
        tracing::warn!("the store is out of reach: rescued answers are left to other workers");
        until_it_answers(&*self.recovery.store, &self.recovery.stop).await;
        ConsumerEnd::CutOff
    }

    async fn ticket(&self, turn: &mut store_limiter::PermitQueue) -> CommitTicket {
        let permit = Arc::clone(&self.commit_permits).acquire_owned().await;
        CommitTicket { permit: permit.expect("places are never closed"), turn: turn.next().await }
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
                    tracing::debug!(%error, "still no journal can be looked for");
                }
                Err(error) => tracing::error!(%error, "journals of workers that died cannot be \
                    looked for: check the folder of rescue.journal. It is tried again"),
            }
            self.sleep(ORPHAN_SCAN_INTERVAL).await;
        }
    }

    fn take_over(self: &Arc<Self>, left: Vec<OrphanedAnswer>) {
        if !left.is_empty() {
            let answers = left.len();
            tracing::warn!(answers, "a worker has died: committing what its journal holds");
        }
        // All of them are in hand from now on.
        let all: Vec<_> = left.into_iter().map(|left| self.of_journal(left)).collect();
        let mut all = all.into_iter().peekable();
        while all.peek().is_some() {
            let (this, batch) = (Arc::clone(self), all.by_ref().take(BATCH).collect());
            self.recovery.tasks.spawn(async move { this.settle_here_or_elsewhere(batch).await });
        }
    }

    /// Settles what only this worker holds: what it cannot write goes to the rescue queue, where
    /// others find it.
    async fn settle_here_or_elsewhere(&self, mut batch: Vec<RescuedAnswer>) {
        while !batch.is_empty() && !self.recovery.stop.is_cancelled() {
            let unwritten = self.recovery.settle(batch, STORE_TIMEOUT, None).await;
            if self.recovery.stop.is_cancelled() {
                return;
            }
            // All at once: one that the broker is slow to confirm must not hold up the others.
            let handed_on = unwritten.into_iter().map(|one| self.recovery.forward_or_write(one));
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
    /// The store was out of reach. It is back.
    CutOff,
}
