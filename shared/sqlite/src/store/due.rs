//! The grants that want a job, in chunks: no transaction is held open between them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use rusqlite::{Connection, Row, params};

use super::super::failure::Failure;
use super::lease::now;
use super::{Inner, SqliteStore, adopt, in_chunks, revive, table};
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::{decode, ids, transition};
use evergrant_domain::{DocumentId, Timestamp};
use evergrant_ports::{
    DueGrant, DueQuery, DueSelection, DueStore, StoreError, SweepPlace, SweepResult,
    UnadoptedDocuments,
};

#[async_trait]
impl DueStore for SqliteStore {
    async fn adopt(&self) -> Result<u64, StoreError> {
        adopt::adopt(&self.0).await.map_err(|failure| failure.in_store("adopt"))
    }

    async fn unadopted(&self) -> Result<Vec<UnadoptedDocuments>, StoreError> {
        let counted = adopt::count_unadopted(&self.0).await;
        counted.map_err(|failure| failure.in_store("unadopted"))
    }

    fn due(&self, query: DueQuery) -> BoxStream<'_, Result<DueGrant, StoreError>> {
        in_chunks(beginning(&query), move |place| {
            let query = query.clone();
            self.read("due", move |connection, inner| read_chunk(connection, inner, &query, place))
        })
    }

    async fn mark_queued(&self, ids: &[DocumentId], duration: Duration) -> Result<(), StoreError> {
        let mark = transition::mark_queued(&self.0.names, duration);
        self.carry_out("mark_queued", ids, mark).await
    }

    async fn revive_signed_in(
        &self,
        after: Option<SweepPlace>,
        most: u32,
    ) -> Result<SweepResult, StoreError> {
        let revived = revive::sweep(&self.0, after, most).await;
        revived.map_err(|failure| failure.in_store("revive_signed_in"))
    }
}

/// Grants in one chunk.
const CHUNK: usize = 1_000;

/// How far a reading has come.
#[derive(Clone, Copy)]
pub(super) struct DueCursor {
    due_ms: i64,
    n: i64,
}

/// A chunk, and where the next one begins; None after the last.
pub(super) type Chunk = (Vec<DueGrant>, Option<DueCursor>);

/// Where a reading of `query` begins.
pub(super) fn beginning(query: &DueQuery) -> DueCursor {
    DueCursor { due_ms: query.from.map_or(i64::MIN, Timestamp::unix_ms), n: i64::MIN }
}

pub(super) fn read_chunk(
    connection: &Connection,
    inner: &Arc<Inner>,
    query: &DueQuery,
    from: DueCursor,
) -> Result<Chunk, Failure> {
    let now = now(connection)?;
    let user = match &query.which {
        DueSelection::User(user) => Some(user.as_str()),
        DueSelection::Due | DueSelection::All => None,
    };
    // What is due has a due time in the past; all have one before the end of time.
    let until_ms = if query.which == DueSelection::Due { now.unix_ms() } else { i64::MAX };
    let mut select = connection.prepare_cached(match user {
        None => BY_TIME,
        Some(_) => BY_USER,
    })?;
    let provider = query.provider.as_str();
    let values = params![provider, until_ms, from.due_ms, from.n, CHUNK, user.unwrap_or_default()];
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, Vec<u8>>(2)?));
    let (mut grants, mut looked_at) = (Vec::new(), 0);
    let mut last = None;
    for found in select.query_map(values, row)? {
        let (n, due_ms, body) = found?;
        looked_at += 1;
        last = Some(DueCursor { due_ms, n });
        match grant(&inner.names, query, &body, now) {
            Ok(grant) => grants.push(grant),
            // One document that cannot be read keeps no other from its job.
            Err(_) => inner.tell_unreadable(n),
        }
    }
    let whole = looked_at == CHUNK;
    Ok((grants, last.filter(|_| whole)))
}

const BY_TIME: &str = "SELECT n, due_ms, body FROM documents \
     WHERE status = 'active' AND provider = ?1 AND due_ms <= ?2 AND queued_ms <= ?2 \
     AND (due_ms, n) > (?3, ?4) AND ?6 = '' ORDER BY due_ms, n LIMIT ?5";
const BY_USER: &str = "SELECT n, due_ms, body FROM documents \
     WHERE user = ?6 AND status = 'active' AND provider = ?1 AND due_ms <= ?2 \
     AND (due_ms, n) > (?3, ?4) ORDER BY due_ms, n LIMIT ?5";

fn grant(
    names: &FieldPaths,
    query: &DueQuery,
    body: &[u8],
    now: Timestamp,
) -> Result<DueGrant, Failure> {
    let document = table::decode(body)?;
    let (generation, due_at) = decode::due(names, &document);
    Ok(DueGrant {
        id: ids::from_bson(document.get("_id").unwrap_or(&bson::Bson::Null)),
        provider: query.provider.clone(),
        generation,
        next_refresh_at: due_at.unwrap_or(now),
    })
}
