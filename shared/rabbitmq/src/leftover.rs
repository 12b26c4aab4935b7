//! Queues of shards that are no longer configured: `queue.shards` was lowered.
//!
//! Their messages are consumed like any others. The queues are never deleted: a job on the ladder
//! returns to them for hours, and a rung whose message has no destination blocks everything behind
//! it (head-of-line blocking).

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use super::delivery_priority::DeliveryOrigin;
use super::errors::{Failure, is_not_found};
use super::names::{QueueNames, short};
use super::session::Session;
use evergrant_domain::ProviderId;
use evergrant_ports::QueueError;

/// A queue of a shard that is not configured.
pub(super) struct Leftover {
    pub(super) name: String,
    pub(super) origin: DeliveryOrigin,
    pub(super) messages: u32,
    pub(super) consumers: u32,
}

/// Finds the queues of the shards from `shards` on, up to the first that does not exist.
pub(super) async fn find(
    operation: &'static str,
    session: &Session,
    names: &QueueNames,
    provider: &ProviderId,
    shards: u16,
) -> Result<Vec<Leftover>, QueueError> {
    let mut found = Vec::new();
    for shard in shards.max(1)..u16::MAX {
        let before = found.len();
        let both = [
            (names.work(provider, shard), DeliveryOrigin::Work),
            (names.again(provider, shard), DeliveryOrigin::Retry),
        ];
        for (name, origin) in both {
            found.extend(inspect_leftover(operation, session, name, origin).await?);
        }
        if found.len() == before {
            break;
        }
    }
    Ok(found)
}

async fn inspect_leftover(
    operation: &'static str,
    session: &Session,
    name: String,
    origin: DeliveryOrigin,
) -> Result<Option<Leftover>, QueueError> {
    // An error closes the channel, so each check has its own.
    let channel = session.channel(operation).await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asking = channel.queue_declare(short(operation, &name)?, options, FieldTable::default());
    match session.wait(operation, asking).await? {
        Ok(queue) => {
            let (messages, consumers) = (queue.message_count(), queue.consumer_count());
            Ok(Some(Leftover { name, origin, messages, consumers }))
        }
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(Failure::new(operation, &error).into()),
    }
}
