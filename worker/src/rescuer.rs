//! Commits what other workers could not: the rescue queue, and the journals of processes that are
//! gone.

use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::backoff::Backoff;
use evergrant_shared::domain::{DeadLetter, ProviderId, SealedAnswer, Timestamp};
use evergrant_shared::ports::{Acker, Committed, Delivery, Intake, StoreError, TokenStore};
use evergrant_shared::rescue::{Entry, Left, Opened};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::nets::Nets;

/// Answers of other workers that are being committed at once.
const PREFETCH: u16 = 128;
/// Answers in one commit.
const BATCH: usize = 64;
/// How often it is looked for journals of processes that are gone.
const INHERIT_EVERY: Duration = Duration::from_secs(2);
/// A store that refuses an answer so many times is not asked again: an operator is.
const MAX_REFUSALS: u32 = 5;

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
    source: Source,
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
        loop {
            // A broker that does not answer must not hold up the end.
            let consuming = self.nets.queue.consume_rescues(PREFETCH);
            let Some(consuming) = self.stop.run_until_cancelled(consuming).await else { break };
            match consuming {
                Ok(intake) => {
                    backoff.reset();
                    self.serve(intake).await;
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

    async fn serve(self: &Arc<Self>, mut intake: Box<dyn Intake>) {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                delivery = intake.next() => delivery,
            };
            let Some(first) = delivery else { break };
            let mut batch = vec![Rescue::of(first)];
            while batch.len() < BATCH
                && let Some(Some(delivery)) = intake.next().now_or_never()
            {
                batch.push(Rescue::of(delivery));
            }
            self.start(batch);
        }
        intake.stop().await;
    }

    fn start(self: &Arc<Self>, batch: Vec<Rescue>) {
        let this = Arc::clone(self);
        self.tasks.spawn(async move { this.settle(batch).await });
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
        let mut left = left.into_iter().map(Rescue::left).peekable();
        while left.peek().is_some() {
            self.start(left.by_ref().take(BATCH).collect());
        }
    }

    /// Commits answers as the workers that got them would have. If this worker stops first, they
    /// stay where they are.
    async fn settle(&self, batch: Vec<Rescue>) {
        let mut writable = Vec::with_capacity(batch.len());
        for rescue in batch {
            match self.open(&rescue.body) {
                Ok(opened) => writable.push(Writable { rescue, opened }),
                Err(why) => self.bury(rescue, why).await,
            }
        }
        if self.write(&writable).await {
            for Writable { rescue, .. } in writable {
                self.done(rescue.source).await;
            }
            return;
        }
        // One that the store refuses must not hold up the others.
        for one in writable {
            match self.write_one(&one.opened).await {
                Written::Yes => self.done(one.rescue.source).await,
                Written::No(why) => self.bury(one.rescue, why).await,
                Written::Stopped => return,
            }
        }
    }

    fn open(&self, body: &[u8]) -> Result<Opened, String> {
        let answer = SealedAnswer::decode(body).map_err(|error| error.to_string())?;
        self.nets.sealer.open(&answer).map_err(|error| error.to_string())
    }

    /// Commits all at once. False if the store refuses, or the worker stops.
    async fn write(&self, answers: &[Writable]) -> bool {
        let commits: Vec<_> = answers.iter().map(|answer| answer.opened.commit.clone()).collect();
        let mut backoff = retries();
        while !self.stop.is_cancelled() {
            match self.store.commit(&commits).await {
                Ok(committed) => {
                    answers
                        .iter()
                        .zip(committed)
                        .for_each(|(answer, result)| report(answer, result));
                    return true;
                }
                Err(StoreError::Refused { .. }) => return false,
                Err(error) => tracing::debug!(%error, "rescued answers wait for the store"),
            }
            self.sleep(backoff.next_wait()).await;
        }
        false
    }

    async fn write_one(&self, opened: &Opened) -> Written {
        let (mut backoff, mut refusals) = (retries(), 0);
        while !self.stop.is_cancelled() {
            match self.store.commit(std::slice::from_ref(&opened.commit)).await {
                Ok(_) => return Written::Yes,
                Err(error @ StoreError::Refused { .. }) => {
                    refusals += 1;
                    if refusals == MAX_REFUSALS {
                        return Written::No(error.to_string());
                    }
                }
                Err(_) => {}
            }
            self.sleep(backoff.next_wait()).await;
        }
        Written::Stopped
    }

    async fn bury(&self, rescue: Rescue, why: String) {
        tracing::error!(why, "a rescued answer cannot be written: it becomes a dead letter");
        let answer = SealedAnswer::decode(&rescue.body).ok();
        let named = answer.as_ref().map(|answer| &answer.provider);
        let known = named.filter(|provider| self.providers.contains(provider));
        let Some(provider) = known.or(self.providers.first()).cloned() else { return };
        let (id, now) = (answer.map(|answer| answer.id), Timestamp::of_this_machine());
        let letter = DeadLetter::of_answer(rescue.body, provider, id, why, now, &self.name);
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.nets.queue.bury(&letter).await {
            tracing::error!(%error, "a rescued answer's dead letter is not published: trying again");
            self.sleep(backoff.next_wait()).await;
            if self.stop.is_cancelled() {
                return;
            }
        }
        self.done(rescue.source).await;
    }

    async fn done(&self, source: Source) {
        self.nets.metrics.recovered.inc();
        match source {
            Source::Queue(acker) => crate::settle::acknowledge(acker).await,
            Source::Journal(entry) => {
                if let Some(journal) = &self.nets.journal {
                    journal.forget(entry);
                }
            }
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

impl Rescue {
    fn of(delivery: Delivery) -> Self {
        Self { body: delivery.body, source: Source::Queue(delivery.acker) }
    }

    fn left(left: Left) -> Self {
        Self { body: left.line, source: Source::Journal(left.entry) }
    }
}

/// Short ones: what waits here must be written before anyone presents the old tokens again.
const fn retries() -> Backoff {
    Backoff::new(Duration::from_millis(50), Duration::from_millis(250))
}

fn report(answer: &Writable, result: Committed) {
    let (provider, id) = (&answer.opened.provider, &answer.opened.commit.id);
    let kept = result == Committed::Applied;
    tracing::info!(%provider, %id, kept, "a rescued answer is settled");
}

/// What became of an answer.
enum Written {
    Yes,
    No(String),
    Stopped,
}
