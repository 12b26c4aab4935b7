#![doc = include_str!("../README.md")]

mod acks;
mod address;
mod broken;
mod browse_lock;
mod connect;
mod dead_letters;
mod delivery_priority;
mod errors;
mod headers;
mod inspect;
mod intake;
mod leftover;
mod names;
mod parts;
mod publish;
mod server;
mod session;
pub mod settings;
mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use secrecy::ExposeSecret;

use self::address::Address;
use self::broken::Broken;
use self::browse_lock::BrowseMutex;
use self::dead_letters::RabbitDeadLetters;
use self::delivery_priority::DeliveryOrigin;
use self::errors::Failure;
use self::intake::{QueueShare, RabbitIntake, shares};
use self::leftover::Leftover;
use self::names::{QueueNames, short};
use self::parts::PartedIntake;
use self::publish::{Message, MessagePublisher};
use self::server::Server;
use self::session::Session;
pub use self::settings::RabbitSettings;
use self::topology::Topology;
use evergrant_domain::shard::shard_of;
use evergrant_domain::{DeadLetter, Job, ProviderId, SealedAnswer};
use evergrant_ports::{
    DeadLetters, DeliveryStream, InspectionFinding, JobPublisher, JobQueue, QueueError, WorkQueue,
};

/// [`JobQueue`] over RabbitMQ. It connects when an operation needs it, or fails with
/// [`QueueError::Unavailable`].
pub struct RabbitQueue {
    settings: RabbitSettings,
    names: QueueNames,
    publisher: MessagePublisher,
    /// Destinations that accept no messages now.
    broken: Broken,
    /// For everything except publishing: [`MessagePublisher`] explains why there are two
    /// connections.
    consuming: Arc<Session>,
    browse_mutex: BrowseMutex,
}

impl RabbitQueue {
    /// A queue at the broker of `settings`, which is contacted when it is needed.
    pub fn connect_lazily(settings: RabbitSettings) -> Self {
        let session = |role: &str| {
            let name = format!("{} ({role})", settings.connection_name);
            let url = settings.url.expose_secret();
            let address = Address::new(url, settings.connect_timeout, name);
            Session::new(address, settings.confirm_timeout)
        };
        Self {
            publisher: MessagePublisher::new(session("publish")),
            consuming: Arc::new(session("consume")),
            browse_mutex: BrowseMutex::default(),
            broken: Broken::default(),
            names: QueueNames::new(&settings.prefix),
            settings,
        }
    }

    /// The server's product and version. Asked each time, because a broker can be upgraded under a
    /// running process.
    async fn server(&self, operation: &'static str) -> Result<Server, QueueError> {
        // Connects through the session first, so that wrong credentials are reported as such and an
        // unavailable broker does not get requests from every caller.
        self.consuming.connection(operation).await?;
        let address = self.consuming.address();
        server::ask(operation, address.uri(operation)?, address.connect_timeout).await
    }

    fn topology(&self) -> Topology {
        Topology::new(&self.settings, &self.names)
    }

    /// If a queue or an exchange was missing, declares all of them again, and the operation can be
    /// repeated. Nobody else would create one that was deleted under a running process.
    async fn mend(&self, failure: Failure) -> Result<(), QueueError> {
        match failure {
            Failure::Missing(error) => {
                tracing::warn!(%error, "a queue or an exchange is missing: declaring all of them again");
                self.prepare().await
            }
            Failure::Other(error) => Err(error),
        }
    }

    /// Publishes messages to one `destination`. A destination that has just failed is not tried
    /// again yet.
    async fn publish_all(
        &self,
        operation: &'static str,
        destination: &str,
        messages: &[Message],
    ) -> Result<(), QueueError> {
        self.broken.check(destination)?;
        let published = self.publish_or_mend(operation, messages).await;
        // If the broker is unavailable, the destination is not the cause.
        if published.is_ok() || self.publisher.is_open().await {
            self.broken.note(destination, &published);
        }
        published
    }

    async fn publish_or_mend(
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

    /// Publishes jobs to their queues, the queues concurrently. One result for each job.
    async fn publish_by_queue(
        &self,
        operation: &'static str,
        jobs: &[Job],
    ) -> Result<Vec<Result<(), QueueError>>, QueueError> {
        let exchange = short(operation, &self.names.work_exchange())?;
        let queues: Vec<_> =
            jobs.iter().map(|job| self.names.work(&job.provider, self.shard_of(job))).collect();
        let mut messages: BTreeMap<&str, Vec<Message>> = BTreeMap::new();
        for (job, queue) in jobs.iter().zip(&queues) {
            messages.entry(queue).or_default().push(Message {
                exchange: exchange.clone(),
                routing_key: short(operation, queue)?,
                body: job.encode(),
                headers: FieldTable::default(),
            });
        }
        let publishing = messages.iter().map(|(queue, messages)| async move {
            (*queue, self.publish_all(operation, queue, messages).await)
        });
        let published: BTreeMap<_, _> = join_all(publishing).await.into_iter().collect();
        let of = |queue: &String| published.get(queue.as_str()).cloned().unwrap_or(Ok(()));
        Ok(queues.iter().map(of).collect())
    }

    /// How many messages wait in each work queue of a provider. Each has a channel of its own,
    /// because an error closes it.
    async fn depths_of(&self, provider: &ProviderId) -> Vec<Result<u64, Failure>> {
        const OPERATION: &str = "depth";
        let queues = self.both_of(provider, None).concat();
        let asking = queues.iter().map(|queue| async move {
            let queue = short(OPERATION, queue)?;
            let channel = self.consuming.channel(OPERATION).await?;
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let asking = channel.queue_declare(queue, options, FieldTable::default());
            let found = self.consuming.ask(OPERATION, asking).await?;
            Ok(u64::from(found.message_count()))
        });
        join_all(asking).await
    }

    /// Consumes queues on one channel or, if one of them cannot be consumed, each on its own.
    async fn consume_queues(
        &self,
        operation: &'static str,
        queues: Vec<QueueShare>,
    ) -> Result<Box<dyn DeliveryStream>, QueueError> {
        let open = || RabbitIntake::open(operation, &self.consuming, &queues);
        let failure = match open().await {
            Ok(intake) => return Ok(Box::new(intake)),
            Err(failure) => failure,
        };
        let failure = match self.mend(failure).await {
            Err(error) => error,
            Ok(()) => match open().await {
                Ok(intake) => return Ok(Box::new(intake)),
                Err(failure) => failure.into(),
            },
        };
        if queues.len() < 2 || !self.consuming.is_open().await {
            return Err(failure);
        }
        Ok(Box::new(PartedIntake::open(operation, &self.consuming, queues).await?))
    }

    /// The queues of a provider's shards that are no longer configured.
    async fn leftover_of(&self, provider: &ProviderId, prefetch: u16) -> Vec<QueueShare> {
        let prefetch = (prefetch / FOR_WHAT_COMES_BACK).max(1);
        let shards = self.settings.shards;
        let found = leftover::find("consume", &self.consuming, &self.names, provider, shards).await;
        let found = found.unwrap_or_else(|error| {
            tracing::debug!(%provider, %error, "cannot look for queues of former shards: trying again later");
            Vec::new()
        });
        let share = |Leftover { name, origin, .. }| QueueShare { name, origin, prefetch };
        found.into_iter().map(share).collect()
    }

    fn shard_of(&self, job: &Job) -> u16 {
        shard_of(&job.id, self.settings.shards)
    }

    /// The work queues of `provider`, all or some, and the queues of returning jobs.
    fn both_of(&self, provider: &ProviderId, shards: Option<&[u16]>) -> [Vec<String>; 2] {
        let all: Vec<u16> = (0..self.settings.shards.max(1)).collect();
        let shards = shards.unwrap_or(&all);
        let names = |name: fn(&QueueNames, &ProviderId, u16) -> String| {
            shards.iter().map(|shard| name(&self.names, provider, *shard)).collect()
        };
        [names(QueueNames::work), names(QueueNames::again)]
    }
}

/// The share of a prefetch for returning jobs: they are few, but must never wait behind new ones.
const FOR_WHAT_COMES_BACK: u16 = 4;

#[async_trait]
impl JobPublisher for RabbitQueue {
    /// The sum over the queues that answer; an error if none does.
    async fn depth(&self, provider: &ProviderId) -> Result<u64, QueueError> {
        let mut depths = self.depths_of(provider).await;
        let missing =
            depths.extract_if(.., |depth| matches!(depth, Err(Failure::Missing(_)))).next();
        if let Some(Err(missing)) = missing {
            self.mend(missing).await?;
            depths = self.depths_of(provider).await;
        }
        let (mut sum, mut answered, mut failure) = (0, false, None);
        for depth in depths {
            match depth {
                Ok(depth) => (sum, answered) = (sum + depth, true),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(failure) if !answered => Err(failure.into()),
            _ => Ok(sum),
        }
    }

    async fn publish(&self, jobs: &[Job]) -> Result<(), QueueError> {
        self.publish_by_queue("publish", jobs).await?.into_iter().collect()
    }

    async fn publish_each(&self, jobs: &[Job]) -> Vec<Result<(), QueueError>> {
        let published = self.publish_by_queue("publish", jobs).await;
        published.unwrap_or_else(|error| vec![Err(error); jobs.len()])
    }
}

#[async_trait]
impl WorkQueue for RabbitQueue {
    async fn consume(
        &self,
        provider: &ProviderId,
        shards: Option<&[u16]>,
        prefetch: u16,
    ) -> Result<Box<dyn DeliveryStream>, QueueError> {
        let [work, again] = self.both_of(provider, shards);
        let for_again = prefetch / FOR_WHAT_COMES_BACK;
        let work_shares = shares(prefetch - for_again, work.len());
        let again_shares = shares(for_again, again.len());
        let with = |origin| move |(name, prefetch)| QueueShare { name, origin, prefetch };
        let work = work.into_iter().zip(work_shares).map(with(DeliveryOrigin::Work));
        let again = again.into_iter().zip(again_shares).map(with(DeliveryOrigin::Retry));
        let mut queues: Vec<_> = work.chain(again).collect();
        // One worker for each shard suffices.
        if shards.is_none_or(|shards| shards.contains(&0)) {
            queues.extend(self.leftover_of(provider, prefetch).await);
        }
        self.consume_queues("consume", queues).await
    }

    async fn retry(&self, job: &Job, delay: Duration) -> Result<(), QueueError> {
        const OPERATION: &str = "retry";
        // A rung that does not exist would lose the job.
        let rung = self.settings.ladder.at_least(delay);
        let destination = self.names.retry(rung);
        let message = Message {
            exchange: short(OPERATION, &destination)?,
            routing_key: short(OPERATION, &self.names.again(&job.provider, self.shard_of(job)))?,
            body: job.encode(),
            headers: FieldTable::default(),
        };
        self.publish_all(OPERATION, &destination, &[message]).await
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), QueueError> {
        const OPERATION: &str = "bury";
        let destination = self.names.dead(&letter.provider);
        let message = Message {
            exchange: short(OPERATION, "")?,
            routing_key: short(OPERATION, &destination)?,
            body: letter.body.clone(),
            headers: headers::write(letter),
        };
        self.publish_all(OPERATION, &destination, &[message]).await
    }

    async fn rescue(&self, answer: &SealedAnswer) -> Result<(), QueueError> {
        const OPERATION: &str = "rescue";
        let destination = self.names.rescue();
        let message = Message {
            exchange: short(OPERATION, "")?,
            routing_key: short(OPERATION, &destination)?,
            body: answer.encode(),
            headers: FieldTable::default(),
        };
        self.publish_all(OPERATION, &destination, &[message]).await
    }

    async fn consume_rescues(&self, prefetch: u16) -> Result<Box<dyn DeliveryStream>, QueueError> {
        let queue =
            QueueShare { name: self.names.rescue(), origin: DeliveryOrigin::Work, prefetch };
        self.consume_queues("consume rescues", vec![queue]).await
    }
}

#[async_trait]
impl JobQueue for RabbitQueue {
    async fn prepare(&self) -> Result<(), QueueError> {
        const OPERATION: &str = "prepare";
        topology::declare(OPERATION, &self.consuming, &self.topology()).await
    }

    async fn dead_letters(
        &self,
        provider: &ProviderId,
    ) -> Result<Box<dyn DeadLetters>, QueueError> {
        const OPERATION: &str = "read dead letters";
        let (session, queue) = (&self.consuming, self.names.dead(provider));
        let look =
            RabbitDeadLetters::open(OPERATION, session, &self.browse_mutex, provider, &queue);
        Ok(Box::new(look.await?))
    }

    async fn inspect(&self) -> Result<Vec<InspectionFinding>, QueueError> {
        let server = self.server("inspect").await?;
        let mut findings = inspect::inspect(&self.consuming, &server, &self.topology()).await?;
        for provider in &self.settings.providers {
            let (session, names, shards) = (&self.consuming, &self.names, self.settings.shards);
            let found = leftover::find("inspect", session, names, provider, shards).await?;
            findings.extend(found.iter().map(inspect::leftover));
        }
        Ok(findings)
    }
}
