//! The tables of messages: ready, held and dead.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::failure::Failure;
use super::super::file::now_ms;
use super::super::process;
use super::dead_letter::bury;
use super::names::Queue;
use evergrant_domain::{DeadLetter, DeadReason, Job, ProviderId, Timestamp};

/// A limit against a message that crashes its consumers.
const DELIVERY_LIMIT: i64 = 100;

/// The values of `again`.
const NEW: i64 = 0;
const AGAIN: i64 = 1;

/// A message that a consumer holds.
pub(super) struct Message {
    pub(super) id: i64,
    pub(super) body: Vec<u8>,
    pub(super) redelivered: bool,
}

/// The result of a fetch.
pub(super) struct FetchedMessage {
    pub(super) messages: Vec<Message>,
    /// How long until the next one is ready, if one waits.
    pub(super) next_in_ms: Option<u64>,
}

/// Declares queues.
pub(super) fn declare(connection: &Connection, queues: &[Queue]) -> Result<(), Failure> {
    let sql = "INSERT INTO queues (name, dead) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
    let mut insert = connection.prepare_cached(sql)?;
    for Queue { name, dead } in queues {
        insert.execute(params![name, dead])?;
    }
    Ok(())
}

/// The number of a queue. None if there is no queue of this name.
pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<i64>, Failure> {
    let mut select = connection.prepare_cached("SELECT id FROM queues WHERE name = ?1")?;
    Ok(select.query_row([name], |row| row.get(0)).optional()?)
}

/// A message and its queue.
pub(super) struct Outgoing {
    pub(super) queue: String,
    pub(super) body: Vec<u8>,
}

/// When a message is ready, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadyOrder {
    /// At once, behind all messages published before.
    New,
    /// After a delay, behind all other returning jobs. Waiting behind new jobs could take longer
    /// than a provider's grace for a lost answer.
    Again {
        /// The delay.
        delay_ms: i64,
    },
}

/// Publishes messages, all or none. Returns the name of a queue that does not exist, if there is
/// one.
pub(super) fn publish(
    connection: &Connection,
    messages: &[Outgoing],
    turn: ReadyOrder,
) -> Result<Result<(), String>, Failure> {
    let (again, delay_ms) = match turn {
        ReadyOrder::New => (NEW, 0),
        ReadyOrder::Again { delay_ms } => (AGAIN, delay_ms),
    };
    let ready_ms = now_ms(connection)?.saturating_add(delay_ms);
    let mut numbered = Vec::with_capacity(messages.len());
    for message in messages {
        match find(connection, &message.queue)? {
            Some(queue) => numbered.push((queue, &message.body)),
            None => return Ok(Err(message.queue.clone())),
        }
    }
    let sql = "INSERT INTO messages (queue, again, ready_ms, body) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = connection.prepare_cached(sql)?;
    for (queue, body) in numbered {
        insert.execute(params![queue, again, ready_ms, body])?;
    }
    Ok(Ok(()))
}

/// Registers a consumer of a process.
pub(super) fn enter(connection: &Connection, process: &str) -> Result<i64, Failure> {
    let sql = "INSERT INTO consumers (process) VALUES (?1)";
    connection.prepare_cached(sql)?.execute([process])?;
    Ok(connection.last_insert_rowid())
}

/// Ends a consumer: its messages go back to their positions.
pub(super) fn leave(connection: &Connection, consumer: i64) -> Result<(), Failure> {
    let sql = "UPDATE messages SET consumer = NULL WHERE consumer = ?1";
    connection.prepare_cached(sql)?.execute([consumer])?;
    connection.prepare_cached("DELETE FROM consumers WHERE id = ?1")?.execute([consumer])?;
    Ok(())
}

/// Ends the consumers of dead processes.
pub(super) fn end_the_dead(
    connection: &Connection,
    database: &Path,
    own_process: &str,
) -> Result<(), Failure> {
    let sql = "SELECT id, process FROM consumers WHERE process <> ?1";
    let mut select = connection.prepare_cached(sql)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
    let others = select.query_map([own_process], row)?.collect::<Result<Vec<_>, _>>()?;
    for (consumer, process) in others {
        if process::is_gone(database, &process) {
            leave(connection, consumer)?;
            process::bury(database, &process);
        }
    }
    Ok(())
}

/// How many messages a consumer may get.
pub(super) struct ConsumerCapacity {
    /// All messages.
    pub(super) limit: usize,
    /// Returning jobs among them, as long as there are others.
    pub(super) again: usize,
}

/// Fetches messages of these queues for a consumer, those ready longest first, and each queue its
/// share.
pub(super) fn fetch(
    connection: &Connection,
    queues: &[i64],
    consumer: i64,
    room: &ConsumerCapacity,
) -> Result<FetchedMessage, Failure> {
    let now_ms = now_ms(connection)?;
    let mut fetched = FetchedMessage { messages: Vec::new(), next_in_ms: None };
    let ConsumerCapacity { limit, again } = *room;
    // The unused share of a queue goes to the others.
    for (again, most) in [(AGAIN, again), (NEW, limit), (NEW, limit), (AGAIN, limit)] {
        for (place, queue) in queues.iter().enumerate() {
            let left = most.saturating_sub(fetched.messages.len());
            if left > 0 {
                let share = left.div_ceil(queues.len() - place);
                let taking = TakeFilter { queue: *queue, again, now_ms, limit: share };
                taking.take(connection, consumer, &mut fetched.messages)?;
            }
        }
    }
    if fetched.messages.is_empty() {
        let next_ms = queues
            .iter()
            .map(|queue| next_ready_ms(connection, *queue))
            .collect::<Result<Vec<_>, _>>()?;
        let next_ms = next_ms.into_iter().flatten().min();
        fetched.next_in_ms =
            next_ms.map(|next_ms| u64::try_from(next_ms - now_ms).unwrap_or_default());
    }
    Ok(fetched)
}

/// Which messages are fetched.
struct TakeFilter {
    queue: i64,
    again: i64,
    now_ms: i64,
    limit: usize,
}

impl TakeFilter {
    fn take(
        &self,
        connection: &Connection,
        consumer: i64,
        messages: &mut Vec<Message>,
    ) -> Result<(), Failure> {
        let Self { queue, again, now_ms, limit } = self;
        let sql = "SELECT id, deliveries, body FROM messages \
                   WHERE queue = ?1 AND again = ?2 AND consumer IS NULL AND ready_ms <= ?3 \
                   ORDER BY ready_ms, id LIMIT ?4";
        let mut select = connection.prepare_cached(sql)?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = select.query_map(params![queue, again, now_ms, limit], row)?;
        let found = found.collect::<Result<Vec<(i64, i64, Vec<u8>)>, _>>()?;
        let sql = "UPDATE messages SET consumer = ?2, deliveries = deliveries + 1 WHERE id = ?1";
        let mut hold = connection.prepare_cached(sql)?;
        for (id, deliveries, body) in found {
            if deliveries >= DELIVERY_LIMIT && give_up(connection, *queue, id, &body, *now_ms)? {
                continue;
            }
            hold.execute((id, consumer))?;
            messages.push(Message { id, body, redelivered: deliveries > 0 });
        }
        Ok(())
    }
}

fn next_ready_ms(connection: &Connection, queue: i64) -> Result<Option<i64>, Failure> {
    let sql = "SELECT min(ready_ms) FROM messages \
               WHERE queue = ?1 AND again = ?2 AND consumer IS NULL";
    let mut select = connection.prepare_cached(sql)?;
    let mut of = |again| select.query_row([queue, again], |row| row.get::<_, Option<i64>>(0));
    Ok([of(NEW)?, of(AGAIN)?].into_iter().flatten().min())
}

/// Moves a message to the dead letters of its queue. False if there are none: then it is
/// redelivered without end.
fn give_up(
    connection: &Connection,
    queue: i64,
    id: i64,
    body: &[u8],
    now_ms: i64,
) -> Result<bool, Failure> {
    let sql = "SELECT name, dead FROM queues WHERE id = ?1";
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?));
    let (name, dead) = connection.prepare_cached(sql)?.query_row([queue], row)?;
    let Some(dead) = dead else { return Ok(false) };
    let Some(dead_queue) = find(connection, &dead)? else { return Ok(false) };
    let provider = dead.rsplit('.').next().and_then(|name| name.parse::<ProviderId>().ok());
    let Some(provider) = provider else { return Ok(false) };
    let job = Job::decode(body).ok();
    let now = Timestamp::from_unix_ms(now_ms);
    let letter = DeadLetter {
        body: body.to_vec(),
        provider,
        id: job.as_ref().map(|job| job.id.clone()),
        reason: DeadReason::DeliveryLimit,
        http_status: None,
        code: None,
        description: Some(format!("delivered too often without an acknowledgement, from {name}")),
        attempts: 0,
        first_failed_at: now,
        last_failed_at: now,
        redrive_count: job.map_or(0, |job| job.redrive_count),
        worker: None,
    };
    bury(connection, dead_queue, &letter)?;
    connection.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
    Ok(true)
}

/// Returns messages that were fetched and not handed out, as if they had never been delivered.
pub(super) fn give_back(
    connection: &Connection,
    consumer: i64,
    messages: &[i64],
) -> Result<(), Failure> {
    let sql = "UPDATE messages SET consumer = NULL, deliveries = deliveries - 1 \
               WHERE id = ?1 AND consumer = ?2";
    let mut update = connection.prepare_cached(sql)?;
    for id in messages {
        update.execute((id, consumer))?;
    }
    Ok(())
}

/// Removes a message that the consumer holds. False if it does not hold it any more.
pub(super) fn acknowledge(
    connection: &Connection,
    consumer: i64,
    message: i64,
) -> Result<bool, Failure> {
    let sql = "DELETE FROM messages WHERE id = ?1 AND consumer = ?2";
    Ok(connection.prepare_cached(sql)?.execute((message, consumer))? == 1)
}

/// The number of ready messages of a queue.
pub(super) fn count_ready(connection: &Connection, queue: i64) -> Result<u64, Failure> {
    let now_ms = now_ms(connection)?;
    let sql = "SELECT count(*) FROM messages \
               WHERE queue = ?1 AND again IN (0, 1) AND consumer IS NULL AND ready_ms <= ?2";
    Ok(connection.prepare_cached(sql)?.query_row((queue, now_ms), |row| row.get(0))?)
}

/// The number of messages of a queue that consumers hold.
pub(super) fn count_held(connection: &Connection, queue: i64) -> Result<u64, Failure> {
    let sql = "SELECT count(*) FROM messages WHERE consumer IS NOT NULL AND queue = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([queue], |row| row.get(0))?)
}
