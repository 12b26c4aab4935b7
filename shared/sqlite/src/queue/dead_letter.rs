//! The table of dead letters, and browsing it.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::super::database::Database;
use super::super::failure::Failure;
use evergrant_domain::{DeadLetter, DeadReason, DocumentId, ProviderId, Timestamp};
use evergrant_ports::{DeadLetters, QueueError};

/// Letters per read.
const CHUNK: usize = 100;
const COLUMNS: &str = "id, body, document_id, reason, http_status, code, description, attempts, \
                       first_failed_ms, last_failed_ms, redrive_count, worker";

/// Adds a letter to a queue of dead letters.
pub(super) fn bury(
    connection: &Connection,
    queue: i64,
    letter: &DeadLetter,
) -> Result<(), Failure> {
    let document = letter.id.as_ref().map(|id| serde_json::Value::from(id.clone()).to_string());
    let sql = "INSERT INTO dead_letters (queue, body, document_id, reason, http_status, code, \
               description, attempts, first_failed_ms, last_failed_ms, redrive_count, worker) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    connection.prepare_cached(sql)?.execute(params![
        queue,
        letter.body,
        document,
        letter.reason.as_str(),
        letter.http_status,
        letter.code,
        letter.description,
        letter.attempts,
        letter.first_failed_at.unix_ms(),
        letter.last_failed_at.unix_ms(),
        letter.redrive_count,
        letter.worker,
    ])?;
    Ok(())
}

/// The number of letters.
pub(super) fn count(connection: &Connection, queue: i64) -> Result<(u64, i64), Failure> {
    let sql = "SELECT count(*), coalesce(max(id), 0) FROM dead_letters WHERE queue = ?1";
    let mut select = connection.prepare_cached(sql)?;
    Ok(select.query_row([queue], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// A browse. It holds nothing: letters are read in place.
pub(super) struct LetterBrowse {
    pub(super) database: Arc<Database>,
    pub(super) provider: ProviderId,
    pub(super) queue: i64,
    pub(super) cutoff: u64,
    /// The last letter of the browse.
    pub(super) last: i64,
    pub(super) ahead: VecDeque<(i64, DeadLetter)>,
    /// The letter that was last read from the table.
    pub(super) read: i64,
    /// The letter that [`DeadLetters::next`] returned last.
    pub(super) current: Option<i64>,
}

impl LetterBrowse {
    async fn read_on(&mut self) -> Result<(), QueueError> {
        let (queue, read, last) = (self.queue, self.read, self.last);
        let provider = self.provider.clone();
        let chunk = self
            .database
            .read(move |connection| read_chunk(connection, &provider, queue, read, last));
        let chunk = chunk.await.map_err(|failure| failure.in_queue("read dead letters"))?;
        self.read = chunk.last().map_or(self.last, |(id, _)| *id);
        self.ahead.extend(chunk);
        Ok(())
    }
}

fn read_chunk(
    connection: &Connection,
    provider: &ProviderId,
    queue: i64,
    after: i64,
    last: i64,
) -> Result<Vec<(i64, DeadLetter)>, Failure> {
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letters \
         WHERE queue = ?1 AND id > ?2 AND id <= ?3 ORDER BY id LIMIT ?4"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let found =
        select.query_map(params![queue, after, last, CHUNK], |row| letter(provider, row))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn letter(provider: &ProviderId, row: &Row<'_>) -> rusqlite::Result<(i64, DeadLetter)> {
    let document: Option<String> = row.get(2)?;
    let id = document.and_then(|json| serde_json::from_str::<DocumentId>(&json).ok());
    let reason: String = row.get(3)?;
    let letter = DeadLetter {
        body: row.get(1)?,
        provider: provider.clone(),
        id,
        // A reason of a later release.
        reason: reason.parse().unwrap_or(DeadReason::Broker),
        http_status: row.get(4)?,
        code: row.get(5)?,
        description: row.get(6)?,
        attempts: row.get(7)?,
        first_failed_at: Timestamp::from_unix_ms(row.get(8)?),
        last_failed_at: Timestamp::from_unix_ms(row.get(9)?),
        redrive_count: row.get(10)?,
        worker: row.get(11)?,
    };
    Ok((row.get(0)?, letter))
}

#[async_trait]
impl DeadLetters for LetterBrowse {
    fn cutoff(&self) -> u64 {
        self.cutoff
    }

    async fn next(&mut self) -> Result<Option<DeadLetter>, QueueError> {
        self.current = None;
        if self.ahead.is_empty() && self.read < self.last {
            self.read_on().await?;
        }
        let Some((id, letter)) = self.ahead.pop_front() else { return Ok(None) };
        self.current = Some(id);
        Ok(Some(letter))
    }

    async fn remove(&mut self) -> Result<(), QueueError> {
        const OPERATION: &str = "remove a dead letter";
        let Some(id) = self.current.take() else {
            return Err(QueueError::Refused {
                operation: OPERATION,
                reason: "there is no current letter: it was removed before, or none was read"
                    .to_owned(),
            });
        };
        let removing = self.database.write(move |connection| {
            // If it was removed meanwhile, the goal is reached.
            connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?.execute([id])?;
            Ok(())
        });
        removing.await.map_err(|failure| failure.in_queue(OPERATION))
    }

    async fn close(self: Box<Self>) -> Result<(), QueueError> {
        Ok(())
    }
}
