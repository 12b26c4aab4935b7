//! Commits what other workers could not: the rescue queue, and the journals of processes that are
//! gone.

use std::sync::Arc;
use std::time::Duration;

use evergrant_shared::backoff::Backoff;
use evergrant_shared::domain::{DeadLetter, ProviderId, SealedAnswer, Timestamp};
use evergrant_shared::ports::{Acker, Committed, Delivery, Intake, StoreError, TokenStore};
use evergrant_shared::rescue::{Entry, Left, Opened};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::nets::Nets;

/// Answers of other workers that are being committed at once.
const PREFETCH: u16 = 64;
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

/// Where an answer came from, and how that place is told that it is done.
enum Source {
    Queue(Box<dyn Acker>),
    Journal(Entry),
}

impl Rescuer {
    /// Works until the worker stops, and finishes what it has begun.
    pub(crate) async fn run(self: Arc<Self>) {
        self.tasks.spawn(Arc::clone(&self).inherit());
        let mut backoff = Backoff::for_a_server();
        while !self.stop.is_cancelled() {
            match self.nets.queue.consume_rescues(PREFETCH).await {
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
            let Some(Delivery { body, acker, .. }) = delivery else { break };
            let this = Arc::clone(self);
            self.tasks.spawn(async move { this.commit(body, Source::Queue(acker)).await });
        }
        intake.stop().await;
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
        for Left { entry, line } in left {
            let this = Arc::clone(self);
            self.tasks.spawn(async move { this.commit(line, Source::Journal(entry)).await });
        }
    }

    /// Commits one answer as the worker that got it would have. If this worker stops first, it stays
    /// where it is.
    async fn commit(&self, body: Vec<u8>, source: Source) {
        let answer = SealedAnswer::decode(&body);
        let opened = match &answer {
            Ok(answer) => self.nets.sealer.open(answer).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let failed = match opened {
            Ok(opened) => match self.write(&opened).await {
                Written::Yes => return self.done(source).await,
                Written::Stopped => return,
                Written::No(why) => why,
            },
            Err(why) => why,
        };
        tracing::error!(
            why = failed,
            "a rescued answer cannot be written: it becomes a dead letter"
        );
        self.bury(body, answer.ok(), failed, source).await;
    }

    async fn write(&self, opened: &Opened) -> Written {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(250));
        let (mut refusals, id) = (0, &opened.commit.id);
        while !self.stop.is_cancelled() {
            match self.store.commit(std::slice::from_ref(&opened.commit)).await {
                Ok(committed) => {
                    let kept = committed.first() == Some(&Committed::Applied);
                    let provider = &opened.provider;
                    tracing::info!(%provider, %id, kept, "a rescued answer is settled");
                    return Written::Yes;
                }
                Err(error @ StoreError::Refused { .. }) => {
                    refusals += 1;
                    if refusals == MAX_REFUSALS {
                        return Written::No(error.to_string());
                    }
                }
                Err(error) => tracing::debug!(%id, %error, "a rescued answer waits for the store"),
            }
            self.sleep(backoff.next_wait()).await;
        }
        Written::Stopped
    }

    async fn bury(&self, body: Vec<u8>, answer: Option<SealedAnswer>, why: String, source: Source) {
        let named = answer.as_ref().map(|answer| &answer.provider);
        let known = named.filter(|provider| self.providers.contains(provider));
        let Some(provider) = known.or(self.providers.first()).cloned() else { return };
        let (id, now) = (answer.map(|answer| answer.id), Timestamp::of_this_machine());
        let letter = DeadLetter::of_answer(body, provider, id, why, now, &self.name);
        let mut backoff = Backoff::for_a_server();
        while let Err(error) = self.nets.queue.bury(&letter).await {
            tracing::error!(%error, "a rescued answer's dead letter is not published: trying again");
            self.sleep(backoff.next_wait()).await;
            if self.stop.is_cancelled() {
                return;
            }
        }
        self.done(source).await;
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

/// What became of an answer.
enum Written {
    Yes,
    No(String),
    Stopped,
}
