//! Jobs in RabbitMQ, 3.10 and 4.x, without plugins.
//!
//! ```text
//! rescue ─► <prefix>.rescue ─► consume_rescues
//!
//! publish ─► <prefix>.work ─► <prefix>.refresh.<provider>.<shard> ─► consume
//!                 ▲      └──► <prefix>.again.<provider>.<shard>   ─► consume
//!                 │                          │ the broker gives up (a fuse)
//!                 │ its TTL is over          ▼
//! retry ──► <prefix>.retry.<ms>     <prefix>.dead.<provider> ◄── bury, dead_letters
//! ```
//!
//! What was tried before comes back to a queue of its own, or it would wait behind everything that
//! was never tried.
//!
//! Every queue is a quorum queue, and every move between queues is at least once. Each rung of the
//! retry ladder is a queue with one TTL for all: per-message TTLs in one queue would block behind
//! its head.
//!
//! * [`settings`]: what the adapter needs to know.
//! * `names`, `topology`: what there is on the broker, and making it.
//! * `address`, `dial`, `session`: connections, in bounded time and rebuilt on demand.
//! * `server`: which version this is, for whoever asks.
//! * `publish`, `intake`, `dead_letters`: the three ways that messages go.
//! * `only_look`: one look at dead letters at a time.
//! * `acks`: acknowledgements in groups.
//! * `headers`: a dead letter's fields.
//! * `inspect`, `errors`: what operators read.

mod acks;
mod address;
mod dead_letters;
mod dial;
mod errors;
mod headers;
mod inspect;
mod intake;
mod names;
mod only_look;
mod publish;
mod server;
mod session;
pub mod settings;
mod topology;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use secrecy::ExposeSecret;

use self::address::Address;
use self::dead_letters::RabbitDeadLetters;
use self::errors::Failure;
use self::intake::{RabbitIntake, shares};
use self::names::{Names, short};
use self::only_look::Looking;
use self::publish::{Message, Publisher};
use self::server::Server;
use self::session::Session;
pub use self::settings::RabbitSettings;
use self::topology::Topology;
use self::turns::Origin;
use crate::domain::shard::shard_of;
use crate::domain::{DeadLetter, Job, ProviderId, SealedAnswer};
use crate::ports::{DeadLetters, Finding, Intake, JobQueue, QueueError};

/// [`JobQueue`] over RabbitMQ. It needs no broker to exist: each operation connects if it has to,
/// or fails with [`QueueError::Unavailable`].
pub struct RabbitQueue {
    settings: RabbitSettings,
    names: Names,
    publisher: Publisher,
    /// For everything but publishing: see [`Publisher`] for why there are two connections.
    consuming: Arc<Session>,
    looking: Looking,
}

impl RabbitQueue {
    /// A queue at the broker of `settings`, which is first spoken to when it is needed.
    pub fn connect_lazily(settings: RabbitSettings) -> Self {
        let session = |role: &str| {
            let name = format!("{} ({role})", settings.connection_name);
            let url = settings.url.expose_secret();
            let address = Address::new(url, settings.connect_timeout, name);
            Session::new(address, settings.confirm_timeout)
        };
        Self {
            publisher: Publisher::new(session("publish")),
            consuming: Arc::new(session("consume")),
            looking: Looking::default(),
            names: Names::new(&settings.prefix),
            settings,
        }
    }

    /// Which server this is. Asked each time: a broker can be upgraded under a running process.
    async fn server(&self, operation: &'static str) -> Result<Server, QueueError> {
        // By way of the session first, so that wrong credentials are told as such and a broker
        // that is away is not asked by everybody at once.
        self.consuming.connection(operation).await?;
        let address = self.consuming.address();
        server::ask(operation, address.uri(operation)?, address.connect_timeout).await
    }

    fn topology(&self) -> Topology {
        Topology::of(&self.settings, &self.names)
    }

    /// Makes all queues and exchanges again if one was missing, and then the same is worth another
    /// try: one that somebody deletes under a running process would be made by nobody else.
    async fn mend(&self, failure: Failure) -> Result<(), QueueError> {
        match failure {
            Failure::Missing(error) => {
                tracing::warn!(%error, "making queues and exchanges again");
                self.prepare().await
            }
            Failure::Other(error) => Err(error),
        }
    }

    async fn publish_all(
        &self,
        operation: &'static str,
        messages: &[Message],
    ) -> Result<(), QueueError> {
        if let Err(failure) = self.publisher.publish(operation, messages).await {
            self.mend(failure).await?;
            self.publisher.publish(operation, messages).await?;
        }
        Ok(())
    }

    async fn depth_of(&self, provider: &ProviderId) -> Result<u64, Failure> {
        const OPERATION: &str = "depth";
        let channel = self.consuming.channel(OPERATION).await?;
        let mut depth = 0;
        for queue in self.both_of(provider, None).concat() {
            let queue = short(OPERATION, &queue)?;
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let asking = channel.queue_declare(queue, options, FieldTable::default());
            let found = self.consuming.ask(OPERATION, asking).await?;
            depth += u64::from(found.message_count());
        }
        Ok(depth)
    }

    async fn consume_queues(
        &self,
        operation: &'static str,
        queues: &[(String, Origin, u16)],
    ) -> Result<Box<dyn Intake>, QueueError> {
        let open = || RabbitIntake::open(operation, &self.consuming, queues);
        let intake = match open().await {
            Ok(intake) => intake,
            Err(failure) => {
                self.mend(failure).await?;
                open().await?
            }
        };
        Ok(Box::new(intake))
    }

    fn shard_of(&self, job: &Job) -> u16 {
        shard_of(&job.id, self.settings.shards)
    }

    /// The work queues of `provider`, all or some, and the queues of what comes back to them.
    fn both_of(&self, provider: &ProviderId, shards: Option<&[u16]>) -> [Vec<String>; 2] {
        let all: Vec<u16> = (0..self.settings.shards.max(1)).collect();
        let shards = shards.unwrap_or(&all);
        let names = |name: fn(&Names, &ProviderId, u16) -> String| {
            shards.iter().map(|shard| name(&self.names, provider, *shard)).collect()
        };
        [names(Names::work), names(Names::again)]
    }
}

/// The share of a prefetch that is kept for jobs that come back: they are few, but never wait behind
/// those that were never tried.
const FOR_WHAT_COMES_BACK: u16 = 4;

#[async_trait]
impl JobQueue for RabbitQueue {
    async fn prepare(&self) -> Result<(), QueueError> {
        const OPERATION: &str = "prepare";
        topology::declare(OPERATION, &self.consuming, &self.topology()).await
    }

    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError> {
        match self.depth_of(provider).await {
            Ok(depth) => Ok(depth),
            Err(failure) => {
                self.mend(failure).await?;
                Ok(self.depth_of(provider).await?)
            }
        }
    }

    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError> {
        const OPERATION: &str = "publish";
        if jobs.is_empty() {
            return Ok(());
        }
        let exchange = short(OPERATION, &self.names.work_exchange())?;
        let mut messages = Vec::with_capacity(jobs.len());
        for job in jobs {
            messages.push(Message {
                exchange: exchange.clone(),
                routing_key: short(OPERATION, &self.names.work(&job.provider, self.shard_of(job)))?,
                body: job.encode(),
                headers: FieldTable::default(),
            });
        }
        self.publish_all(OPERATION, &messages).await
    }

    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError> {
        const OPERATION: &str = "retry";
        // A rung that does not exist would send the job nowhere.
        let rung = self.settings.ladder.at_least(delay);
        let message = Message {
            exchange: short(OPERATION, &self.names.retry(rung))?,
            routing_key: short(OPERATION, &self.names.again(&job.provider, self.shard_of(job)))?,
            body: job.encode(),
            headers: FieldTable::default(),
        };
        self.publish_all(OPERATION, &[message]).await
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        const OPERATION: &str = "bury";
        let message = Message {
            exchange: short(OPERATION, "")?,
            routing_key: short(OPERATION, &self.names.dead(&letter.provider))?,
            body: letter.body.clone(),
            headers: headers::write(letter),
        };
        self.publish_all(OPERATION, &[message]).await
    }

    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError> {
        const OPERATION: &str = "rescue";
        let message = Message {
            exchange: short(OPERATION, "")?,
            routing_key: short(OPERATION, &self.names.rescue())?,
            body: answer.encode(),
            headers: FieldTable::default(),
        };
        self.publish_all(OPERATION, &[message]).await
    }

    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn Intake>, QueueError> {
        let queue = (self.names.rescue(), Origin::Work, prefetch);
        self.consume_queues("consume rescues", &[queue]).await
    }

    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn Intake>, QueueError> {
        let [work, again] = self.both_of(provider, shards);
        let for_again = prefetch / FOR_WHAT_COMES_BACK;
        let work_shares = shares(prefetch - for_again, work.len());
        let again_shares = shares(for_again, again.len());
        let with = |origin| move |(queue, share)| (queue, origin, share);
        let work = work.into_iter().zip(work_shares).map(with(Origin::Work));
        let again = again.into_iter().zip(again_shares).map(with(Origin::Retry));
        let queues: Vec<_> = work.chain(again).collect();
        self.consume_queues("consume", &queues).await
    }

    async fn dead_letters(
        &self,
        provider: &ProviderId,
    ) -> Result<Box<dyn DeadLetters>, QueueError> {
        const OPERATION: &str = "read dead letters";
        let (session, queue) = (&self.consuming, self.names.dead(provider));
        let look = RabbitDeadLetters::open(OPERATION, session, &self.looking, provider, &queue);
        Ok(Box::new(look.await?))
    }

    async fn inspect(&self) -> Result<Vec<Finding>, QueueError> {
        let server = self.server("inspect").await?;
        inspect::inspect(&self.consuming, &server, &self.topology()).await
    }
}
