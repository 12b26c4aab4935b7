//! The job queue in a SQLite file.
//!
//! * `names`, `table`: the queues and their messages.
//! * `intake`, `consumer`, `acks`: consuming; `dead_letter`: dead letters.
//!
//! A retry is in its work queue with the time when it is ready, and then does not wait behind new
//! jobs. A delivered message has a consumer, a consumer belongs to a process, and a process holds a
//! lock while it lives. So the messages of a killed process are redelivered at once.

mod acker;
mod acks;
mod consumer;
mod dead_letter;
mod intake;
mod names;
mod table;

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{OnceCell, watch};

use self::consumer::Consumer;
use self::dead_letter::LetterBrowse;
use self::intake::SqliteIntake;
use self::names::QueueNames;
use self::table::{Outgoing, ReadyOrder};
use super::database::Database;
use super::failure::Failure;
use evergrant_domain::ladder::Ladder;
use evergrant_domain::shard::shard_of;
use evergrant_domain::{DeadLetter, Job, ProviderId, SealedAnswer};
use evergrant_ports::{
    DeadLetters, DeliveryStream, InspectionFinding, JobPublisher, JobQueue, QueueError, WorkQueue,
};

/// How often a process checks whether others have died.
const DEAD_CONSUMER_INTERVAL: Duration = Duration::from_secs(1);

/// The settings of the queue.
#[derive(Debug, Clone)]
pub struct SqliteQueueSettings {
    /// The file. It is created if it does not exist.
    pub path: PathBuf,
    /// The prefix of all names of queues.
    pub prefix: String,
    /// The providers, each with work queues and dead letters of its own.
    pub providers: Vec<ProviderId>,
    /// Work queues of each provider.
    pub shards: u16,
    /// The delays of retries.
    pub ladder: Ladder,
}

/// [`JobQueue`] in a file.
pub struct SqliteQueue {
    inner: Arc<Inner>,
    names: QueueNames,
    settings: SqliteQueueSettings,
    /// Whether the queues are known to exist.
    declared: OnceCell<()>,
}

/// The shared state of consumers.
struct Inner {
    database: Arc<Database>,
    /// Notifies consumers of this process of new messages.
    published: watch::Sender<()>,
    /// Which queue is checked first.
    turns: AtomicUsize,
    looked_for_the_dead: Mutex<Option<Instant>>,
}

impl Inner {
    fn is_time_to_look(&self) -> bool {
        let mut looked = self.looked_for_the_dead.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = looked.is_none_or(|at| at.elapsed() >= DEAD_CONSUMER_INTERVAL);
        if is_time {
            *looked = Some(Instant::now());
        }
        is_time
    }
}

impl SqliteQueue {
    /// Opens the file, and creates it if it does not exist.
    ///
    /// # Errors
    /// If it cannot be opened or written, or belongs to another program or a later release.
    pub fn open(settings: SqliteQueueSettings) -> Result<Self, QueueError> {
        let opened = Database::open(&settings.path);
        let inner = Inner {
            database: opened.map_err(|failure| failure.in_queue("open"))?,
            published: watch::Sender::new(()),
            turns: AtomicUsize::new(0),
            looked_for_the_dead: Mutex::new(None),
        };
        let names = QueueNames::new(&settings.prefix);
        Ok(Self { inner: Arc::new(inner), names, settings, declared: OnceCell::new() })
    }

    /// Declares the queues, once, so that a caller need not prepare them.
    async fn declare(&self, operation: &'static str) -> Result<(), QueueError> {
        let declaring = self.declared.get_or_try_init(|| async {
            let queues = self.names.all(&self.settings.providers, self.settings.shards);
            self.write(operation, move |connection| table::declare(connection, &queues)).await
        });
        declaring.await.map(drop)
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, QueueError> {
        let written = self.inner.database.write(work).await;
        written.map_err(|failure| failure.in_queue(operation))
    }

    /// Publishes, and notifies this process's consumers.
    async fn send(
        &self,
        operation: &'static str,
        messages: Vec<Outgoing>,
        turn: ReadyOrder,
    ) -> Result<(), QueueError> {
        self.declare(operation).await?;
        let work = move |connection: &Connection| table::publish(connection, &messages, turn);
        let sent = self.write(operation, work).await?;
        self.inner.published.send_replace(());
        sent.map_err(|queue| no_queue(operation, &queue))
    }

    /// The work queue of a job.
    fn queue_of(&self, job: &Job) -> String {
        self.names.work(&job.provider, shard_of(&job.id, self.settings.shards))
    }

    fn queues_of(&self, provider: &ProviderId, shards: Option<&[u16]>) -> Vec<String> {
        let name = |shard| self.names.work(provider, shard);
        match shards {
            Some(shards) => shards.iter().copied().map(name).collect(),
            None => (0..self.settings.shards.max(1)).map(name).collect(),
        }
    }

    async fn open_intake(
        &self,
        operation: &'static str,
        queues: Vec<String>,
        former: Option<&ProviderId>,
        prefetch: u16,
    ) -> Result<Box<dyn DeliveryStream>, QueueError> {
        self.declare(operation).await?;
        let (names, former) = (self.names.clone(), former.cloned());
        let first_former = self.settings.shards.max(1);
        let inner = Arc::clone(&self.inner);
        // Subscribed first, so that no notification is missed.
        let published = self.inner.published.subscribe();
        let entered = self.write(operation, move |connection| {
            let mut numbers = Vec::with_capacity(queues.len());
            for queue in queues {
                match table::find(connection, &queue)? {
                    Some(number) => numbers.push(number),
                    None => return Ok(Err(queue)),
                }
            }
            if let Some(provider) = former {
                numbers.extend(former_queues(connection, &names, &provider, first_former)?);
            }
            Ok(Ok((table::enter(connection, inner.database.process()?)?, numbers)))
        });
        let (id, numbers) = entered.await?.map_err(|queue| no_queue(operation, &queue))?;
        let consumer = Consumer::new(Arc::clone(&self.inner), id, numbers, prefetch);
        Ok(Box::new(SqliteIntake::new(consumer, published)))
    }
}

/// The queues of shards that are no longer configured: `queue.shards` was lowered.
fn former_queues(
    connection: &Connection,
    names: &QueueNames,
    provider: &ProviderId,
    first: u16,
) -> Result<Vec<i64>, Failure> {
    let mut numbers = Vec::new();
    for shard in first..u16::MAX {
        let Some(number) = table::find(connection, &names.work(provider, shard))? else { break };
        numbers.push(number);
    }
    Ok(numbers)
}

fn no_queue(operation: &'static str, queue: &str) -> QueueError {
    let reason = format!("there is no queue {queue}: is its provider in the settings?");
    QueueError::Unconfirmed { operation, reason }
}

#[async_trait]
impl JobPublisher for SqliteQueue {
    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError> {
        const OPERATION: &str = "depth";
        self.declare(OPERATION).await?;
        let queues = self.queues_of(provider, None);
        let counting = self.inner.database.read(move |connection| {
            let mut depth = 0;
            for queue in queues {
                match table::find(connection, &queue)? {
                    Some(number) => depth += table::count_ready(connection, number)?,
                    None => return Ok(Err(queue)),
                }
            }
            Ok(Ok(depth))
        });
        let depth = counting.await.map_err(|failure| failure.in_queue(OPERATION))?;
        depth.map_err(|queue| no_queue(OPERATION, &queue))
    }

    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let messages =
            jobs.iter().map(|job| Outgoing { queue: self.queue_of(job), body: job.encode() });
        self.send("publish", messages.collect(), ReadyOrder::New).await
    }
}

#[async_trait]
impl WorkQueue for SqliteQueue {
    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn DeliveryStream>, QueueError> {
        // One worker for each shard suffices for former shards.
        let former = shards.is_none_or(|shards| shards.contains(&0)).then_some(provider);
        self.open_intake("consume", self.queues_of(provider, shards), former, prefetch).await
    }

    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError> {
        let message = Outgoing { queue: self.queue_of(job), body: job.encode() };
        let rung = self.settings.ladder.at_least(delay);
        let delay_ms = i64::try_from(rung.as_millis()).unwrap_or(i64::MAX);
        match self.send("retry", vec![message], ReadyOrder::Again { delay_ms }).await {
            // At a broker, the rung accepts it, and it has no destination when its delay is over.
            Err(error @ QueueError::Unconfirmed { .. }) => {
                tracing::warn!(%error, "a retry was dropped: its provider has no queue");
                Ok(())
            }
            sent => sent,
        }
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        const OPERATION: &str = "bury";
        self.declare(OPERATION).await?;
        let (letter, queue) = (letter.clone(), self.names.dead(&letter.provider));
        let buried =
            self.write(OPERATION, move |connection| match table::find(connection, &queue)? {
                Some(number) => dead_letter::bury(connection, number, &letter).map(Ok),
                None => Ok(Err(queue)),
            });
        buried.await?.map_err(|queue| no_queue(OPERATION, &queue))
    }

    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError> {
        let message = Outgoing { queue: self.names.rescue(), body: answer.encode() };
        self.send("rescue", vec![message], ReadyOrder::New).await
    }

    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn DeliveryStream>, QueueError> {
        self.open_intake("consume rescues", vec![self.names.rescue()], None, prefetch).await
    }
}

#[async_trait]
impl JobQueue for SqliteQueue {
    async fn prepare(&self) -> Result<(), QueueError> {
        self.declare("prepare").await
    }

    async fn dead_letters(
        &self,
        provider: &ProviderId,
    ) -> Result<Box<dyn DeadLetters>, QueueError> {
        const OPERATION: &str = "read dead letters";
        self.declare(OPERATION).await?;
        let name = self.names.dead(provider);
        let counting =
            self.inner.database.read(move |connection| match table::find(connection, &name)? {
                Some(queue) => {
                    let (cutoff, last) = dead_letter::count(connection, queue)?;
                    Ok(Ok((queue, cutoff, last)))
                }
                None => Ok(Err(name)),
            });
        let found = counting.await.map_err(|failure| failure.in_queue(OPERATION))?;
        let (queue, cutoff, last) = found.map_err(|queue| no_queue(OPERATION, &queue))?;
        Ok(Box::new(LetterBrowse {
            database: Arc::clone(&self.inner.database),
            provider: provider.clone(),
            queue,
            cutoff,
            last,
            ahead: std::collections::VecDeque::new(),
            read: 0,
            current: None,
        }))
    }

    async fn inspect(&self) -> Result<Vec<InspectionFinding>, QueueError> {
        let queues = self.names.all(&self.settings.providers, self.settings.shards);
        let path = self.inner.database.path().display().to_string();
        let looking = self.inner.database.read(move |connection| {
            let mut findings =
                vec![InspectionFinding { what: "queue file".to_owned(), ok: true, detail: path }];
            for queue in &queues {
                findings.push(look_at(connection, &queue.name)?);
            }
            Ok(findings)
        });
        looking.await.map_err(|failure| failure.in_queue("inspect"))
    }
}

fn look_at(connection: &Connection, name: &str) -> Result<InspectionFinding, Failure> {
    let what = format!("queue {name}");
    let Some(queue) = table::find(connection, name)? else {
        let detail = "does not exist; a producer or a worker creates it when it starts".to_owned();
        return Ok(InspectionFinding { what, ok: false, detail });
    };
    let ready = table::count_ready(connection, queue)?;
    let held = table::count_held(connection, queue)?;
    let (dead, _) = dead_letter::count(connection, queue)?;
    let detail = match dead {
        0 => format!("{ready} messages ready, {held} held"),
        dead => format!("{dead} dead letters"),
    };
    Ok(InspectionFinding { what, ok: true, detail })
}
