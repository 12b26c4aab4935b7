//! Grants as operators see and change them; see `operate` for the listing.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use rusqlite::{Row, params};

use super::lease::now;
use super::{SqliteStore, in_chunks, operate, revive, table};
use evergrant_document::{decode, transition};
use evergrant_domain::{DocumentId, GrantStatus, ProviderId};
use evergrant_ports::{
    ChangeResult, DueGrant, GrantAdmin, GrantChange, GrantCount, GrantFilter, GrantView, StoreError,
};

#[async_trait]
impl GrantAdmin for SqliteStore {
    fn list(&self, filter: GrantFilter) -> BoxStream<'_, Result<GrantView, StoreError>> {
        let limit = filter.limit.unwrap_or(u64::MAX);
        let beginning = (limit > 0).then_some((None, limit));
        let Some(beginning) = beginning else { return stream::empty().boxed() };
        in_chunks(beginning, move |(after, left)| {
            let filter = filter.clone();
            self.read("list", move |connection, inner| {
                let after = match after {
                    Some(after) => after,
                    None => operate::beginning(connection, &filter)?,
                };
                let (chunk, last) =
                    operate::list_chunk(connection, &inner.names, &filter, &after, left)?;
                let left = left - chunk.len() as u64;
                Ok((chunk, last.filter(|_| left > 0).map(|last| (Some(last), left))))
            })
        })
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<GrantView>, StoreError> {
        let id = id.clone();
        self.read("get", move |connection, inner| {
            let found = table::find(connection, &inner.names, &id)?;
            Ok(found.map(|stored| decode::view(&inner.names, &stored.document)))
        })
        .await
    }

    async fn statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<GrantStatus>>, StoreError> {
        let ids = ids.to_vec();
        self.read("statuses", move |connection, inner| {
            let mut statuses = Vec::with_capacity(ids.len());
            for id in &ids {
                let found = table::find(connection, &inner.names, id)?;
                let status = |stored: table::StoredDocument| {
                    decode::view(&inner.names, &stored.document).status
                };
                statuses.push(found.and_then(status));
            }
            Ok(statuses)
        })
        .await
    }

    async fn count_grants(&self) -> Result<Vec<GrantCount>, StoreError> {
        self.read("count_grants", move |connection, _| {
            let sql = "SELECT provider, status, count(*) FROM documents GROUP BY status, provider";
            let mut select = connection.prepare_cached(sql)?;
            let name = |row: &Row<'_>, column| row.get::<_, Option<String>>(column);
            let row = |row: &Row<'_>| Ok((name(row, 0)?, name(row, 1)?, row.get(2)?));
            let mut counts = Vec::new();
            for found in select.query_map([], row)? {
                let (provider, status, count) = found?;
                let provider = provider.and_then(|name| name.parse().ok());
                let status = status.and_then(|name| name.parse().ok());
                counts.push(GrantCount { provider, status, count });
            }
            counts.sort();
            Ok(counts)
        })
        .await
    }

    async fn count_due(&self, provider: &ProviderId, most: u64) -> Result<u64, StoreError> {
        let provider = provider.clone();
        self.read("count_due", move |connection, _| {
            let sql = "SELECT count(*) FROM (SELECT 1 FROM documents WHERE status = 'active' \
                       AND provider = ?1 AND due_ms <= ?2 AND queued_ms <= ?2 LIMIT ?3)";
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let values = params![provider.as_str(), now(connection)?.unix_ms(), most];
            Ok(connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
        })
        .await
    }

    async fn reactivate(
        &self,
        id: &DocumentId,
        queued: Duration,
    ) -> Result<Option<DueGrant>, StoreError> {
        let id = id.clone();
        self.write("reactivate", move |connection, inner| {
            revive::reactivate(connection, &inner.names, &id, queued)
        })
        .await
    }

    async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<ChangeResult, StoreError> {
        let id = id.clone();
        self.write("change_grant", move |connection, inner| {
            let Some(mut stored) = table::find(connection, &inner.names, &id)? else {
                return Ok(ChangeResult::Absent);
            };
            let changed = transition::change(&inner.names, change);
            if !changed.carry_out(&mut stored.document, now(connection)?) {
                let status = decode::view(&inner.names, &stored.document).status;
                return Ok(transition::why_unchanged(change, status));
            }
            table::update(connection, &inner.names, &stored)?;
            Ok(ChangeResult::Applied)
        })
        .await
    }
}
