//! The exchanges, queues and bindings, and their declaration.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, ExchangeKind};

use super::errors::explain_declare;
use super::names::{QueueNames, short};
use super::session::Session;
use super::settings::RabbitSettings;
use evergrant_ports::QueueError;

/// A limit against a message that crashes its consumers. It is not the retry policy, which counts
/// attempts in the document.
const WORK_DELIVERY_LIMIT: i32 = 100;
/// More deliveries than anybody needs. "No limit" differs between servers: from RabbitMQ 4.0 on it
/// is -1, because the default is 20; before, it is the default, because -1 destroys a message that
/// is browsed.
const ENDLESS_DELIVERY_LIMIT: i32 = i32::MAX;

/// An exchange.
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) kind: ExchangeKind,
}

/// A queue, and the exchange to which it is bound.
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) arguments: FieldTable,
    /// The exchange and the routing key. None for a queue that is addressed by name.
    pub(super) binding: Option<(String, String)>,
}

/// All exchanges and queues.
pub(super) struct Topology {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) queues: Vec<Queue>,
}

impl Topology {
    /// What `settings` require.
    pub(super) fn new(settings: &RabbitSettings, names: &QueueNames) -> Self {
        let work = Exchange { name: names.work_exchange(), kind: ExchangeKind::Direct };
        let mut exchanges = vec![work];
        let mut queues = Vec::new();
        for provider in &settings.providers {
            let dead = names.dead(provider);
            for shard in 0..settings.shards.max(1) {
                for name in [names.work(provider, shard), names.again(provider, shard)] {
                    let binding = Some((names.work_exchange(), name.clone()));
                    queues.push(Queue { arguments: work_arguments(&dead), binding, name });
                }
            }
            queues.push(Queue { name: dead, arguments: endless(), binding: None });
        }
        queues.push(Queue { name: names.rescue(), arguments: endless(), binding: None });
        for &delay in settings.ladder.rungs() {
            let name = names.retry(delay);
            exchanges.push(Exchange { name: name.clone(), kind: ExchangeKind::Fanout });
            let arguments = retry_arguments(delay, &names.work_exchange());
            let binding = Some((name.clone(), String::new()));
            queues.push(Queue { name, arguments, binding });
        }
        Self { exchanges, queues }
    }
}

/// Replicated, durable, and without loss on the way to the next queue. The last needs both
/// arguments: without `reject-publish`, the strategy silently falls back to at-most-once.
fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    put(&mut arguments, "x-queue-type", text("quorum"));
    put(&mut arguments, "x-dead-letter-strategy", text("at-least-once"));
    put(&mut arguments, "x-overflow", text("reject-publish"));
    arguments
}

fn work_arguments(dead: &str) -> FieldTable {
    let mut arguments = quorum();
    put(&mut arguments, "x-delivery-limit", AMQPValue::LongInt(WORK_DELIVERY_LIMIT));
    put(&mut arguments, "x-dead-letter-exchange", text(""));
    put(&mut arguments, "x-dead-letter-routing-key", text(dead));
    arguments
}

/// No routing key of its own: the message keeps that of its publication, which is the name of the
/// queue to which it returns.
fn retry_arguments(delay: Duration, work_exchange: &str) -> FieldTable {
    let mut arguments = quorum();
    let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    put(&mut arguments, "x-message-ttl", AMQPValue::LongLongInt(delay_ms));
    put(&mut arguments, "x-dead-letter-exchange", text(work_exchange));
    arguments
}

/// A message survives any number of browses and crashes of workers.
fn endless() -> FieldTable {
    let mut arguments = FieldTable::default();
    put(&mut arguments, "x-queue-type", text("quorum"));
    put(&mut arguments, "x-delivery-limit", AMQPValue::LongInt(ENDLESS_DELIVERY_LIMIT));
    arguments
}

fn put(arguments: &mut FieldTable, key: &'static str, value: AMQPValue) {
    arguments.insert(key.into(), value);
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

/// Declares all of `topology`. A failure does not stop the rest.
///
/// # Errors
/// The first failure, once all the others are declared.
pub(super) async fn declare(
    operation: &'static str,
    session: &Session,
    topology: &Topology,
) -> Result<(), QueueError> {
    let mut channel = session.channel(operation).await?;
    let mut first_error = None;
    for exchange in &topology.exchanges {
        if let Err(error) = declare_exchange(operation, session, &channel, exchange).await {
            first_error.get_or_insert(error);
            // An error closes the channel. If the broker is unavailable, opening another one ends
            // the loop.
            channel = session.channel(operation).await?;
        }
    }
    for queue in &topology.queues {
        if let Err(error) = declare_queue(operation, session, &channel, queue).await {
            first_error.get_or_insert(error);
            channel = session.channel(operation).await?;
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Declares one exchange.
pub(super) async fn declare_exchange(
    operation: &'static str,
    session: &Session,
    channel: &Channel,
    exchange: &Exchange,
) -> Result<(), QueueError> {
    let name = short(operation, &exchange.name)?;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declaring =
        channel.exchange_declare(name, exchange.kind.clone(), options, FieldTable::default());
    let declared = session.wait(operation, declaring).await?;
    declared.map_err(|error| explain_declare(operation, &exchange.name, &error))
}

/// Declares one queue and its binding.
pub(super) async fn declare_queue(
    operation: &'static str,
    session: &Session,
    channel: &Channel,
    queue: &Queue,
) -> Result<(), QueueError> {
    let name = short(operation, &queue.name)?;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declaring = channel.queue_declare(name.clone(), options, queue.arguments.clone());
    let declared = session.wait(operation, declaring).await?;
    declared.map_err(|error| explain_declare(operation, &queue.name, &error))?;
    if let Some((exchange, key)) = &queue.binding {
        let (exchange, key) = (short(operation, exchange)?, short(operation, key)?);
        let options = QueueBindOptions::default();
        let binding = channel.queue_bind(name, exchange, key, options, FieldTable::default());
        session.ask(operation, binding).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergrant_domain::ladder::Ladder;

    fn topology() -> Topology {
        let settings = RabbitSettings {
            url: "amqp://localhost".into(),
            prefix: "t".to_owned(),
            providers: vec!["one".parse().unwrap(), "two".parse().unwrap()],
            shards: 2,
            ladder: Ladder::new(vec![Duration::from_secs(1), Duration::from_secs(60)]).unwrap(),
            connection_name: "test".to_owned(),
            connect_timeout: Duration::from_secs(1),
            confirm_timeout: Duration::from_secs(1),
        };
        Topology::new(&settings, &QueueNames::new("t"))
    }

    fn queue(topology: &Topology, name: &str) -> FieldTable {
        topology.queues.iter().find(|queue| queue.name == name).unwrap().arguments.clone()
    }

    #[test]
    fn every_provider_has_its_shards_and_its_dead_letters() {
        let names: Vec<_> = topology().queues.into_iter().map(|queue| queue.name).collect();
        assert_eq!(
            names,
            [
                "t.refresh.one.0",
                "t.again.one.0",
                "t.refresh.one.1",
                "t.again.one.1",
                "t.dead.one",
                "t.refresh.two.0",
                "t.again.two.0",
                "t.refresh.two.1",
                "t.again.two.1",
                "t.dead.two",
                "t.rescue",
                "t.retry.1000",
                "t.retry.60000",
            ]
        );
    }

    #[test]
    fn browsing_never_exceeds_the_delivery_limit() {
        for name in ["t.dead.one", "t.dead.two", "t.rescue"] {
            let arguments = queue(&topology(), name);
            let limit = arguments.inner().get("x-delivery-limit");
            assert_eq!(limit, Some(&AMQPValue::LongInt(i32::MAX)), "{name}");
        }
    }

    #[test]
    fn a_retry_returns_by_its_own_routing_key() {
        let arguments = queue(&topology(), "t.retry.1000");
        let get = |key: &str| arguments.inner().get(key).cloned();
        assert_eq!(get("x-message-ttl"), Some(AMQPValue::LongLongInt(1_000)));
        assert_eq!(get("x-dead-letter-exchange"), Some(text("t.work")));
        assert_eq!(get("x-dead-letter-routing-key"), None);
    }
}
