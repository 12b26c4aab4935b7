//! A process's way to the broker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evergrant_shared::domain::{DeadLetter, Job, ProviderId, SealedAnswer};
use evergrant_shared::memory::MemoryQueue;
use evergrant_shared::ports::{DeadLetters, Finding, Intake, JobQueue, QueueError};

use super::intake::FaultyIntake;
use super::process::{Fate, Process};
use super::world::World;

/// The broker as a process reaches it.
pub(crate) struct FaultyQueue(pub(crate) Arc<Process>);

impl FaultyQueue {
    /// Makes a call, or does not, as it happens.
    async fn call<T, F>(
        &self,
        operation: &'static str,
        effect: impl FnOnce(MemoryQueue, Arc<World>) -> F,
    ) -> Result<T, QueueError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, QueueError>> + Send + 'static,
    {
        let (process, world) = (&self.0, &self.0.world);
        process.live().await;
        let fate = self.fate();
        if fate != Fate::Works {
            world.with(|state| state.figures.queue_faults += 1);
        }
        let failed =
            |reason: &str| QueueError::Unavailable { operation, reason: reason.to_owned() };
        let effect = effect(process.connection.clone(), Arc::clone(world));
        process.call(fate, operation, failed, effect).await
    }

    fn fate(&self) -> Fate {
        let world = &self.0.world;
        let rates = &world.plan.rates;
        if !self.0.reaches_broker() {
            return Fate::Fails;
        }
        if world.chance(rates.crash) {
            return [Fate::CrashBefore, Fate::CrashAfter, Fate::CrashAmid][world.below(3)];
        }
        let fates = [
            (rates.queue_fails, Fate::Fails),
            (rates.unconfirmed, Fate::Unanswered),
            (rates.queue_slow, Fate::SlowBefore),
            (rates.queue_slow, Fate::SlowAfter),
        ];
        let drawn = fates.into_iter().find(|(rate, _)| world.chance(*rate));
        drawn.map_or(Fate::Works, |(_, fate)| fate)
    }
}

/// What becomes of a message on its way into its queue.
enum Passage {
    AsItShould,
    Lost,
    Doubled,
    Late,
}

impl World {
    fn passage(&self) -> Passage {
        let rates = &self.plan.rates;
        if self.chance(rates.message_lost) {
            self.with(|state| state.figures.lost_messages += 1);
            return Passage::Lost;
        }
        if self.chance(rates.message_doubled) {
            self.with(|state| state.figures.duplicates += 1);
            return Passage::Doubled;
        }
        if self.chance(rates.message_late) { Passage::Late } else { Passage::AsItShould }
    }

    /// Takes jobs on their way: returns those that arrive now, and sends the others on later.
    fn under_way(&self, queue: &MemoryQueue, jobs: Vec<Job>) -> Vec<Job> {
        let mut now = Vec::with_capacity(jobs.len());
        for job in jobs {
            match self.passage() {
                Passage::AsItShould => now.push(job),
                Passage::Lost => {
                    self.note(|| format!("a job of {} is lost", job.id));
                    self.with(|state| state.jobs_lost.insert(job.id));
                }
                Passage::Doubled => {
                    self.note(|| format!("a job of {} is doubled", job.id));
                    self.arrives_later(queue, job.clone());
                    now.push(job);
                }
                Passage::Late => self.arrives_later(queue, job),
            }
        }
        if self.chance(self.plan.rates.reordered) {
            self.with(|state| state.rng.shuffle(&mut now));
        }
        now
    }

    fn arrives_later(&self, queue: &MemoryQueue, job: Job) {
        let (queue, wait) = (queue.clone(), self.some_ms(1, 12_000));
        self.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            // The queues are there.
            let _ = queue.publish(&[job]).await;
        });
    }
}

#[async_trait]
impl JobQueue for FaultyQueue {
    async fn prepare(&self) -> Result<(), QueueError> {
        self.call("prepare", |queue, _| async move { queue.prepare().await }).await
    }

    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError> {
        let provider = provider.clone();
        self.call("depth", |queue, _| async move { queue.depth(&provider).await }).await
    }

    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError> {
        let jobs = jobs.to_vec();
        let publish = |queue: MemoryQueue, world: Arc<World>| async move {
            world.note(|| format!("published: {}", ids(&jobs)));
            queue.publish(&world.under_way(&queue, jobs)).await
        };
        self.call("publish", publish).await
    }

    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError> {
        let job = job.clone();
        let retry = |queue: MemoryQueue, world: Arc<World>| async move {
            world.note(|| format!("{} comes back in {delay:?}", job.id));
            world.changed(&job.id);
            for job in world.under_way(&queue, vec![job]) {
                queue.retry(&job, delay).await?;
            }
            Ok(())
        };
        self.call("retry", retry).await
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        let letter = letter.clone();
        let bury = |queue: MemoryQueue, world: Arc<World>| async move {
            if let Some(id) = &letter.id {
                world.note(|| format!("{id} is buried: {}", letter.reason));
                world.changed(id);
            }
            queue.bury(&letter).await
        };
        self.call("bury", bury).await
    }

    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError> {
        let answer = answer.clone();
        let rescue = |queue: MemoryQueue, world: Arc<World>| async move {
            world.note(|| format!("an answer for {} is put into the rescue queue", answer.id));
            queue.rescue(&answer).await?;
            let token = world.sealed_token(&answer.encode());
            world.with(|state| {
                state.figures.rescues += 1;
                token.into_iter().for_each(|token| state.tokens.rescued.add(token));
            });
            Ok(())
        };
        self.call("rescue", rescue).await
    }

    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn Intake>, QueueError> {
        let consume = |queue: MemoryQueue, _| async move { queue.consume_rescues(prefetch).await };
        let intake = self.call("consume_rescues", consume).await?;
        Ok(Box::new(FaultyIntake::new(&self.0, intake)))
    }

    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn Intake>, QueueError> {
        let (provider, shards) = (provider.clone(), shards.map(<[u16]>::to_vec));
        let consume = |queue: MemoryQueue, _| async move {
            queue.consume(&provider, shards.as_deref(), prefetch).await
        };
        let intake = self.call("consume", consume).await?;
        Ok(Box::new(FaultyIntake::new(&self.0, intake)))
    }

    async fn dead_letters(
        &self,
        provider: &ProviderId,
    ) -> Result<Box<dyn DeadLetters>, QueueError> {
        let provider = provider.clone();
        self.call("dead_letters", |queue, _| async move { queue.dead_letters(&provider).await })
            .await
    }

    async fn inspect(&self) -> Result<Vec<Finding>, QueueError> {
        self.call("inspect", |queue, _| async move { queue.inspect().await }).await
    }
}

fn ids(jobs: &[Job]) -> String {
    jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>().join(", ")
}
