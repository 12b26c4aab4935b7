//! A process's connection to the broker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use evergrant_domain::{DeadLetter, Job, ProviderId, SealedAnswer};
use evergrant_memory::MemoryQueue;
use evergrant_ports::{DeliveryStream, JobPublisher, QueueError, WorkQueue};

use super::intake::{FaultyIntake, IgnoredRescues};
use super::process::{Fate, Process};
use super::world::World;
use super::{Fault, Sabotage};

/// How long a message travels that is not waited for.
const NOT_WAITED_FOR: Duration = Duration::from_secs(3);

/// The broker, as a process reaches it.
pub(crate) struct FaultyQueue(pub(crate) Arc<Process>);

impl FaultyQueue {
    /// Makes a call with its fate.
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
        if let Some(fault) = fault_of(fate).filter(|_| process.reaches_broker()) {
            world.reached(fault);
        }
        let failed =
            |reason: &str| QueueError::Unavailable { operation, reason: reason.to_owned() };
        let effect = effect(process.connection.clone(), Arc::clone(world));
        process.call(fate, [3, 0], operation, failed, effect).await
    }

    /// Makes a call that a broken build does not wait for.
    async fn confirmed_unless<F>(
        &self,
        sabotage: Sabotage,
        operation: &'static str,
        effect: impl FnOnce(MemoryQueue, Arc<World>) -> F + Send + 'static,
    ) -> Result<(), QueueError>
    where
        F: Future<Output = Result<(), QueueError>> + Send + 'static,
    {
        if !self.0.world.is_broken_by(sabotage) {
            return self.call(operation, effect).await;
        }
        let process = Arc::clone(&self.0);
        self.0.world.runtime.spawn(async move {
            tokio::time::sleep(NOT_WAITED_FOR).await;
            // Its result is not needed.
            let _ = Self(process).call(operation, effect).await;
        });
        Ok(())
    }

    fn fate(&self) -> Fate {
        let rates = &self.0.world.plan.rates;
        let fates = [
            (rates.queue_fails, Fate::Fails),
            (rates.unconfirmed, Fate::Unanswered),
            (rates.queue_slow, Fate::SlowBefore),
            (rates.queue_slow, Fate::SlowAfter),
        ];
        self.0.draw_fate(self.0.reaches_broker(), &fates)
    }
}

/// The fate of a message on its way into its queue.
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
            self.reached(Fault::MessageLost);
            return Passage::Lost;
        }
        if self.chance(rates.message_doubled) {
            self.reached(Fault::MessageDoubled);
            return Passage::Doubled;
        }
        if self.chance(rates.message_late) {
            self.reached(Fault::MessageLate);
            return Passage::Late;
        }
        Passage::AsItShould
    }

    /// Sends jobs: returns those that arrive now, and delivers the others later.
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
        if now.len() > 1 && self.chance(self.plan.rates.reordered) {
            self.reached(Fault::Reordered);
            self.with(|state| state.rng.shuffle(&mut now));
        }
        now
    }

    fn arrives_later(&self, queue: &MemoryQueue, job: Job) {
        let (queue, wait) = (queue.clone(), self.some_ms(1, 12_000));
        self.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            // The queues exist.
            let _ = queue.publish(&[job]).await;
        });
    }
}

#[async_trait]
impl JobPublisher for FaultyQueue {
    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError> {
        let provider = provider.clone();
        self.call("depth", |queue, _| async move { queue.depth(&provider).await }).await
    }

    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError> {
        let jobs = jobs.to_vec();
        let publish = |queue: MemoryQueue, world: Arc<World>| async move {
            world.note(|| format!("published: {}", ids(&jobs)));
            jobs.iter().for_each(|job| world.published(&job.id));
            queue.publish(&world.under_way(&queue, jobs)).await
        };
        self.confirmed_unless(Sabotage::MarkBeforeConfirm, "publish", publish).await
    }
}

#[async_trait]
impl WorkQueue for FaultyQueue {
    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn DeliveryStream>, QueueError> {
        let (provider, shards) = (provider.clone(), shards.map(<[u16]>::to_vec));
        let consume = |queue: MemoryQueue, _| async move {
            queue.consume(&provider, shards.as_deref(), prefetch).await
        };
        let intake = self.call("consume", consume).await?;
        Ok(Box::new(FaultyIntake::new(&self.0, intake)))
    }

    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError> {
        let job = job.clone();
        let retry = move |queue: MemoryQueue, world: Arc<World>| async move {
            world.note(|| format!("{} comes back in {delay:?}", job.id));
            world.changed(&job.id);
            for job in world.under_way(&queue, vec![job]) {
                queue.retry(&job, delay).await?;
            }
            Ok(())
        };
        self.confirmed_unless(Sabotage::RetryUnconfirmed, "retry", retry).await
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        let letter = letter.clone();
        let bury = |queue: MemoryQueue, world: Arc<World>| async move {
            if let Some(id) = &letter.id {
                world.note(|| format!("{id} is buried: {}", letter.reason));
                world.changed(id);
            }
            if world.is_broken_by(Sabotage::LetterMissing) {
                return Ok(());
            }
            queue.bury(&letter).await
        };
        self.call("bury", bury).await
    }

    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError> {
        let token = self.0.world.sealed_token(&answer.encode());
        let answer = answer.clone();
        let rescue = |queue: MemoryQueue, world: Arc<World>| async move {
            world.note(|| format!("an answer for {} is put into the rescue queue", answer.id));
            queue.rescue(&answer).await?;
            let token = world.sealed_token(&answer.encode());
            world.with(|state| {
                state.reached.count(Fault::Rescue.as_str());
                token.into_iter().for_each(|token| state.tokens.rescued.add(token));
            });
            Ok(())
        };
        self.call("rescue", rescue).await?;
        self.0.world.with(|state| state.tokens.rescued_once.extend(token));
        Ok(())
    }

    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn DeliveryStream>, QueueError> {
        let consume = |queue: MemoryQueue, _| async move { queue.consume_rescues(prefetch).await };
        let intake = self.call("consume_rescues", consume).await?;
        if self.0.world.is_broken_by(Sabotage::RescueQueueUnread) {
            return Ok(Box::new(IgnoredRescues));
        }
        Ok(Box::new(FaultyIntake::new(&self.0, intake)))
    }
}

fn ids(jobs: &[Job]) -> String {
    jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>().join(", ")
}

fn fault_of(fate: Fate) -> Option<Fault> {
    match fate {
        Fate::Works => None,
        Fate::Fails => Some(Fault::QueueFails),
        Fate::Unanswered | Fate::Late => Some(Fault::QueueUnanswered),
        Fate::SlowBefore | Fate::SlowAfter => Some(Fault::QueueSlow),
        Fate::CrashBefore | Fate::CrashAfter | Fate::CrashAmid => Some(Fault::QueueCrash),
    }
}
