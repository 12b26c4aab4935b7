//! Commits what other workers could not: the rescue queue, and the journals of processes that are
//! gone.

use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::backoff::Backoff;
use evergrant_shared::domain::{DeadLetter, ProviderId, SealedAnswer, Timestamp};
use evergrant_shared::ports::{Acker, Committed, Delivery, Intake, StoreError, TokenStore};
use evergrant_shared::rescue::{Entry, Journal, Left, Opened};
use futures::FutureExt;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::nets::Nets;
use crate::rescues::Held;

/// Answers of other workers that are being committed at once.
const PREFETCH: u16 = 128;
/// Answers in one commit.
const BATCH: usize = 64;
/// How often it is looked for journals of processes that are gone.
const INHERIT_EVERY: Duration = Duration::from_millis(500);
/// A store that refuses an answer so many times is not asked again: an operator is.
const MAX_REFUSALS: u32 = 5;
/// How long the store may not take what this worker holds: it may be out of reach for this worker
/// alone, and whoever reaches it has to be quicker than the documents' leases.
const PATIENCE: Duration = Duration::from_secs(3);
/// A store that is slow for everybody is given more and more time, up to this much.
const MAX_PATIENCE: Duration = Duration::from_secs(12);

/// Empties the rescue queue and the journals that others left.
pub(crate) struct Rescuer {
    pub(crate) nets: Arc<Nets>,
    pub(crate) store: Arc<dyn TokenStore>,
    /// The worker's name, for dead letters.
    pub(crate) name: String,
    /// The providers whose dead letters there are.
    pub(crate) providers: Vec<ProviderId>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// An answer, and where it came from.
struct Rescue {
    body: Vec<u8>,
    /// What the body says, or why it is none.
    answer: Result<SealedAnswer, String>,
    source: Source,
    /// None if it cannot be told whose it is.
    _held: Option<Held>,
}

/// Where an answer came from, and how that place is told that it is done.
enum Source {
    Queue(Box<dyn Acker>),
    Journal(Entry),
}

/// An answer that could be opened.
struct Writable {
    rescue: Rescue,
    opened: Opened,
}

impl Rescuer {
    /// Works until the worker stops, and finishes what it has begun.
    pub(crate) async fn run(self: Arc<Self>) {
        self.tasks.spawn(Arc::clone(&self).inherit());
        let mut backoff = Backoff::for_a_server();
        let mut patience = PATIENCE;
        loop {
            // A broker that does not answer must not hold up the end.
            let consuming = self.nets.queue.consume_rescues(PREFETCH);
            let Some(consuming) = self.stop.run_until_cancelled(consuming).await else { break };
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
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// One consumer's life. It ends when the store is out of reach, and what it holds goes to a
    /// worker that can write it; it is over when this worker can.
    async fn serve(self: &Arc<Self>, mut intake: Box<dyn Intake>, patience: Duration) -> Served {
        let cut_off = CancellationToken::new();
        let serving = self.nets.rescues.serve();
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = cut_off.cancelled() => break,
                delivery = intake.next() => delivery,
            };
            let Some(first) = delivery else { break };
            let mut batch = vec![self.of_queue(first)];
            while batch.len() < BATCH
                && let Some(Some(delivery)) = intake.next().now_or_never()
            {
                batch.push(self.of_queue(delivery));
            }
            let (this, cut_off) = (Arc::clone(self), cut_off.clone());
            self.tasks.spawn(async move {
                if !this.settle(batch, patience).await.is_empty() {
                    cut_off.cancel();
                }
            });
        }
        drop(serving);
        intake.stop().await;
        if !cut_off.is_cancelled() {
            return Served::Lost;
        }
        // With the consumer goes what it was sent and nobody has acknowledged.
        drop(intake);
        tracing::warn!("the store is out of reach: rescued answers are left to other workers");
        self.wait_for_the_store().await;
        Served::CutOff
    }

    async fn wait_for_the_store(&self) {
        let mut backoff = Backoff::for_an_answer();
        while !self.stop.is_cancelled() && self.store.now().await.is_err() {
            self.sleep(backoff.next_wait()).await;
        }
    }

    async fn inherit(self: Arc<Self>) {
        let Some(journal) = self.nets.journal.clone() else { return };
        while !self.stop.is_cancelled() {
            match journal.inherit() {
                Ok(left) => self.take_over(left),
                Err(error) => tracing::error!(%error, "journals of other workers cannot be read"),
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
            self.tasks.spawn(async move { this.settle_here_or_elsewhere(batch).await });
        }
    }

    /// Settles what only this worker holds: what it cannot write goes to the rescue queue, where
    /// others find it.
    async fn settle_here_or_elsewhere(&self, mut batch: Vec<Rescue>) {
        while !batch.is_empty() && !self.stop.is_cancelled() {
            let unwritten = self.settle(batch, PATIENCE).await;
            if self.stop.is_cancelled() {
                return;
            }
            // All at once: one that the broker is slow to confirm must not hold up the others.
            let handed_on = unwritten.into_iter().map(|rescue| self.hand_on_or_keep(rescue));
            batch = join_all(handed_on).await.into_iter().flatten().collect();
        }
    }

    async fn hand_on_or_keep(&self, rescue: Rescue) -> Option<Rescue> {
        if !self.hand_on(&rescue).await {
            return Some(rescue);
        }
        self.left_unwritten(rescue.source).await;
        None
    }

    /// Puts an answer into the rescue queue. False if the queue does not take it.
    async fn hand_on(&self, rescue: &Rescue) -> bool {
        // What is no answer was buried.
        let Ok(answer) = &rescue.answer else { return false };
        let taken = self.nets.queue.rescue(answer).await;
        taken
            .inspect_err(|error| tracing::debug!(%error, "neither store nor queue take an answer"))
            .is_ok()
    }

    /// Commits answers as the workers that got them would have. Returns those that are not written
    /// because the store is out of reach, or the worker stops.
    async fn settle(&self, batch: Vec<Rescue>, patience: Duration) -> Vec<Rescue> {
        let mut writable = Vec::with_capacity(batch.len());
        for rescue in batch {
            match self.open(&rescue) {
                Ok(opened) => writable.push(Writable { rescue, opened }),
                Err(why) => self.bury(rescue, why).await,
            }
        }
        let mut left = Vec::new();
        match self.write(&writable, patience).await {
            Written::Yes => {
                for Writable { rescue, .. } in writable {
                    self.done(rescue.source).await;
                }
            }
            Written::OutOfReach => left.extend(writable.into_iter().map(|one| one.rescue)),
            // One that the store refuses must not hold up the others.
            Written::Refused(_) => {
                let mut writable = writable.into_iter();
                while let Some(one) = writable.next() {
                    match self.write_one(&one, patience).await {
                        Written::Yes => self.done(one.rescue.source).await,
                        Written::Refused(why) => self.bury(one.rescue, why).await,
                        // Each of the others would be waited for as long again.
                        Written::OutOfReach => {
                            left.push(one.rescue);
                            left.extend(writable.by_ref().map(|one| one.rescue));
                        }
                    }
                }
            }
        }
        left
    }

    fn of_queue(&self, delivery: Delivery) -> Rescue {
        self.take(delivery.body, Source::Queue(delivery.acker))
    }

    fn of_journal(&self, left: Left) -> Rescue {
        self.take(left.line, Source::Journal(left.entry))
    }

    fn take(&self, body: Vec<u8>, source: Source) -> Rescue {
        let answer = SealedAnswer::decode(&body).map_err(|error| error.to_string());
        let _held = answer.as_ref().ok().map(|answer| self.nets.rescues.take(answer.id.clone()));
        Rescue { body, answer, source, _held }
    }

    fn open(&self, rescue: &Rescue) -> Result<Opened, String> {
        let answer = rescue.answer.as_ref().map_err(Clone::clone)?;
        self.nets.sealer.open(answer).map_err(|error| error.to_string())
    }

    /// Commits all at once, or none.
    async fn write(&self, answers: &[Writable], patience: Duration) -> Written {
        let commits: Vec<_> = answers.iter().map(|answer| answer.opened.commit.clone()).collect();
        let writing = async {
            let mut backoff = Backoff::for_an_answer();
            loop {
                match self.store.commit(&commits).await {
                    Ok(committed) => {
                        let settled = answers.iter().zip(committed);
                        settled.for_each(|(answer, result)| report(answer, result));
                        return Written::Yes;
                    }
                    Err(error @ StoreError::Refused { .. }) => {
                        return Written::Refused(error.to_string());
                    }
                    Err(error) => tracing::debug!(%error, "rescued answers wait for the store"),
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        };
        let writing = self.stop.run_until_cancelled(tokio::time::timeout(patience, writing));
        writing.await.and_then(Result::ok).unwrap_or(Written::OutOfReach)
    }

    /// Commits one that may be refused, a few times.
    async fn write_one(&self, answer: &Writable, patience: Duration) -> Written {
        let mut backoff = Backoff::for_an_answer();
        for _ in 1..MAX_REFUSALS {
            match self.write(std::slice::from_ref(answer), patience).await {
                Written::Refused(_) => self.sleep(backoff.next_wait()).await,
                written => return written,
            }
        }
        self.write(std::slice::from_ref(answer), patience).await
    }

    async fn bury(&self, rescue: Rescue, why: String) {
        tracing::error!(why, "a rescued answer cannot be written: it becomes a dead letter");
        let answer = rescue.answer.ok();
        let named = answer.as_ref().map(|answer| &answer.provider);
        let known = named.filter(|provider| self.providers.contains(provider));
        let Some(provider) = known.or(self.providers.first()).cloned() else { return };
        let (id, now) = (answer.map(|answer| answer.id), Timestamp::of_this_machine());
        let letter = DeadLetter::of_answer(rescue.body, provider, id, why, now, &self.name);
        self.nets.metrics.count_dead(&letter.provider, letter.reason);
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.nets.queue.bury(&letter).await {
            tracing::error!(%error, "a rescued answer's dead letter is not published: trying again");
            self.sleep(backoff.next_wait()).await;
            if self.stop.is_cancelled() {
                return;
            }
        }
        self.nets.metrics.recovered.inc();
        self.left_unwritten(rescue.source).await;
    }

    /// The answer is in its document.
    async fn done(&self, source: Source) {
        self.nets.metrics.recovered.inc();
        self.leave(source, |journal, entry| journal.forget(entry)).await;
    }

    /// The answer is safe, but not in its document.
    async fn left_unwritten(&self, source: Source) {
        self.leave(source, |journal, entry| journal.hand_on(entry)).await;
    }

    async fn leave(&self, source: Source, forget: impl FnOnce(&dyn Journal, Entry)) {
        match (source, &self.nets.journal) {
            (Source::Queue(acker), _) => crate::settle::acknowledge(acker).await,
            (Source::Journal(entry), Some(journal)) => forget(&**journal, entry),
            (Source::Journal(_), None) => {}
        }
    }

    async fn sleep(&self, wait: Duration) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn report(answer: &Writable, result: Committed) {
    let (provider, id) = (&answer.opened.provider, &answer.opened.commit.id);
    let kept = result == Committed::Applied;
    tracing::info!(%provider, %id, kept, "a rescued answer is settled");
}

/// What became of answers.
enum Written {
    Yes,
    Refused(String),
    /// The store did not say, or the worker stops.
    OutOfReach,
}

/// Why a consumer of the rescue queue ended.
enum Served {
    /// The worker is stopping, or the broker ended it.
    Lost,
    /// The store was out of reach. It is back.
    CutOff,
}
