//! Finds what other workers could not commit: the rescue queue, and the journals of processes that are
//! gone.

use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::backoff::Backoff;
use evergrant_shared::ports::{Delivery, Intake};
use evergrant_shared::rescue::Left;
use futures::future::{join_all, ready};
use tokio::task::JoinSet;

use crate::recovery::{PATIENCE, Recovery, Rescue, Source};

/// Answers of other workers that are in hand at once. Those that wait to be passed on are among them, so
/// it is more than are committed at once.
const PREFETCH: u16 = 512;
/// Answers in one commit.
const BATCH: usize = 64;
/// Commits at once. What comes meanwhile makes the next one larger: a store that is slow for everybody must
/// not be given more to do for it.
const AT_ONCE: usize = 2;
/// How often it is looked for journals of processes that are gone.
const INHERIT_EVERY: Duration = Duration::from_millis(500);
/// A store that is slow for everybody is given more and more time, up to this much.
const MAX_PATIENCE: Duration = Duration::from_secs(12);

/// Empties the rescue queue and the journals that others left.
pub(crate) struct Rescuer(pub(crate) Arc<Recovery>);

impl Rescuer {
    /// Works until the worker stops, and finishes what it has begun.
    pub(crate) async fn run(self: Arc<Self>) {
        self.0.tasks.spawn(Arc::clone(&self).inherit());
        let mut backoff = Backoff::for_a_server();
        let mut patience = PATIENCE;
        loop {
            // A broker that does not answer must not hold up the end.
            let consuming = self.0.nets.queue.consume_rescues(PREFETCH);
            let Some(consuming) = self.0.stop.run_until_cancelled(consuming).await else { break };
            match consuming {
                Ok(intake) => {
                    backoff.reset();
                    patience = match self.serve(intake, patience).await {
                        Served::Lost => PATIENCE,
                        Served::CutOff => (patience * 2).min(MAX_PATIENCE),
                    };
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot consume rescued answers: trying again")
                }
            }
            self.sleep(backoff.next_wait()).await;
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// One consumer's life. It ends when the store is out of reach, and what it holds goes to a
    /// worker that can write it; it is over when this worker can.
    async fn serve(self: &Arc<Self>, mut intake: Box<dyn Intake>, patience: Duration) -> Served {
        let serving = self.0.nets.rescues.serve();
        let (mut batch, mut settling) = (Vec::with_capacity(BATCH), JoinSet::new());
        let cut_off = loop {
            tokio::select! {
                biased;
                () = self.0.stop.cancelled() => break false,
                Some(all_written) = settling.join_next() => {
                    if !all_written.unwrap_or(true) {
                        break true;
                    }
                }
                delivery = intake.next(), if batch.len() < BATCH => match delivery {
                    Some(delivery) => batch.push(self.of_queue(delivery)),
                    None => break false,
                },
                () = ready(()), if !batch.is_empty() && settling.len() < AT_ONCE => {
                    let batch = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                    let this = Arc::clone(&self.0);
                    let settle = async move { this.settle(batch, patience).await.is_empty() };
                    settling.spawn(self.0.tasks.track_future(settle));
                }
            }
        };
        drop(serving);
        intake.stop().await;
        settling.detach_all();
        if !cut_off {
            return Served::Lost;
        }
        // With the consumer goes what it was sent and nobody has acknowledged.
        drop((intake, batch));
        tracing::warn!("the store is out of reach: rescued answers are left to other workers");
        self.wait_for_the_store().await;
        Served::CutOff
    }

    async fn wait_for_the_store(&self) {
        let mut backoff = Backoff::for_an_answer();
        while !self.0.stop.is_cancelled() && self.0.store.now().await.is_err() {
            self.sleep(backoff.next_wait()).await;
        }
    }

    async fn inherit(self: Arc<Self>) {
        let Some(journal) = self.0.nets.journal.clone() else { return };
        let mut told = false;
        while !self.0.stop.is_cancelled() {
            match journal.inherit() {
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
            self.sleep(INHERIT_EVERY).await;
        }
    }

    fn take_over(self: &Arc<Self>, left: Vec<Left>) {
        if !left.is_empty() {
            let answers = left.len();
            tracing::warn!(answers, "a worker has died: committing what its journal holds");
        }
        // All of them are in hand from now on.
        let all: Vec<_> = left.into_iter().map(|left| self.of_journal(left)).collect();
        let mut all = all.into_iter().peekable();
        while all.peek().is_some() {
            let (this, batch) = (Arc::clone(self), all.by_ref().take(BATCH).collect());
            self.0.tasks.spawn(async move { this.settle_here_or_elsewhere(batch).await });
        }
    }

    /// Settles what only this worker holds: what it cannot write goes to the rescue queue, where
    /// others find it.
    async fn settle_here_or_elsewhere(&self, mut batch: Vec<Rescue>) {
        while !batch.is_empty() && !self.0.stop.is_cancelled() {
            let unwritten = self.0.settle(batch, PATIENCE).await;
            if self.0.stop.is_cancelled() {
                return;
            }
            // All at once: one that the broker is slow to confirm must not hold up the others.
            let handed_on = unwritten.into_iter().map(|one| self.0.hand_on_or_write(one));
            let kept = join_all(handed_on).await;
            batch = kept.into_iter().flatten().map(|kept| kept.rescue).collect();
        }
    }

    fn of_queue(&self, delivery: Delivery) -> Rescue {
        self.0.take(delivery.body, Source::Queue(delivery.acker))
    }

    fn of_journal(&self, left: Left) -> Rescue {
        self.0.take(left.line, Source::Journal(left.entry))
    }

    async fn sleep(&self, wait: Duration) {
        tokio::select! {
            biased;
            () = self.0.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Why a consumer of the rescue queue ended.
enum Served {
    /// The worker is stopping, or the broker ended it.
    Lost,
    /// The store was out of reach. It is back.
    CutOff,
}
