//! The port of operators; see `records` for what it keeps.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::super::failure::Failure;
use super::lease::now;
use super::paths::{set_over, unset};
use super::{SqliteStore, records, table};
use evergrant_document::decode;
use evergrant_document::names::Names;
use evergrant_document::paths::at;
use evergrant_domain::audit::{AuditEntry, AuditFilter, Intent, Progress};
use evergrant_domain::heartbeat::Heartbeat;
use evergrant_domain::statistics::{Counts, MinuteCounts};
use evergrant_domain::{DocumentId, ProviderId, Status, Timestamp};
use evergrant_ports::StoreError;
use evergrant_ports::operators::{Changed, GrantChange, GrantCount, OperatorStore};

#[async_trait]
impl OperatorStore for SqliteStore {
    async fn begin_audit(&self, intent: Intent) -> Result<AuditEntry, StoreError> {
        self.write("begin_audit", |connection, _| records::begin_audit(connection, intent)).await
    }

    async fn tell_audit(&self, id: &str, progress: &Progress) -> Result<(), StoreError> {
        let (id, progress) = (id.to_owned(), progress.clone());
        self.write("tell_audit", move |connection, _| {
            records::tell_audit(connection, &id, &progress)
        })
        .await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let filter = filter.clone();
        self.read("audit", move |connection, _| records::audit(connection, &filter)).await
    }

    async fn audit_chain(&self, number: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read("audit_chain", move |connection, _| {
            records::audit_chain(connection, number, limit)
        })
        .await
    }

    async fn audit_entry(&self, id: &str) -> Result<Option<AuditEntry>, StoreError> {
        let id = id.to_owned();
        self.read("audit_entry", move |connection, _| records::audit_one(connection, &id)).await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let heartbeat = heartbeat.clone();
        self.write("beat", move |connection, _| records::beat(connection, &heartbeat)).await
    }

    async fn end_beat(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write("end_beat", move |connection, _| records::end_beat(connection, &name)).await
    }

    async fn processes(&self) -> Result<Vec<Heartbeat>, StoreError> {
        self.read("processes", |connection, _| records::processes(connection)).await
    }

    async fn add_statistics(&self, counts: &[(ProviderId, Counts)]) -> Result<(), StoreError> {
        let counts = counts.to_vec();
        self.write("add_statistics", move |connection, _| {
            records::add_statistics(connection, &counts)
        })
        .await
    }

    async fn statistics(&self, since: Timestamp) -> Result<Vec<MinuteCounts>, StoreError> {
        self.read("statistics", move |connection, _| records::statistics(connection, since)).await
    }

    async fn count_grants(&self) -> Result<Vec<GrantCount>, StoreError> {
        self.read("count_grants", |connection, _| count_grants(connection)).await
    }

    async fn count_due(&self, provider: &ProviderId, most: u64) -> Result<u64, StoreError> {
        let provider = provider.clone();
        self.read("count_due", move |connection, _| count_due(connection, &provider, most)).await
    }

    async fn statuses(&self, ids: &[DocumentId]) -> Result<Vec<Option<Status>>, StoreError> {
        let ids = ids.to_vec();
        self.read("statuses", move |connection, inner| {
            let mut statuses = Vec::with_capacity(ids.len());
            for id in &ids {
                let found = table::find(connection, &inner.names, id)?;
                let status =
                    |stored: table::Stored| decode::view(&inner.names, &stored.document).status;
                statuses.push(found.and_then(status));
            }
            Ok(statuses)
        })
        .await
    }

    async fn change_grant(
        &self,
        id: &DocumentId,
        change: GrantChange,
    ) -> Result<Changed, StoreError> {
        let id = id.clone();
        self.write("change_grant", move |connection, inner| {
            change_grant(connection, &inner.names, &id, change)
        })
        .await
    }
}

fn count_grants(connection: &Connection) -> Result<Vec<GrantCount>, Failure> {
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
}

fn count_due(connection: &Connection, provider: &ProviderId, most: u64) -> Result<u64, Failure> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM documents WHERE status = 'active' \
               AND provider = ?1 AND due_ms <= ?2 AND queued_ms <= ?2 LIMIT ?3)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let values = params![provider.as_str(), now(connection)?.unix_ms(), most];
    Ok(connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}

fn change_grant(
    connection: &Connection,
    names: &Names,
    id: &DocumentId,
    change: GrantChange,
) -> Result<Changed, Failure> {
    let Some(mut stored) = table::find(connection, names, id)? else { return Ok(Changed::Absent) };
    let status = decode::view(names, &stored.document).status;
    let is_leased = at(&stored.document, &names.path("lease")).is_some();
    let document = &mut stored.document;
    match (change, status) {
        (GrantChange::Pause, Some(Status::Active)) => {
            set_over(document, &names.path("status"), Status::Paused.as_str());
        }
        (GrantChange::Resume, Some(Status::Paused)) => {
            set_over(document, &names.path("status"), Status::Active.as_str());
            unset(document, &names.path("queued_until"));
        }
        (GrantChange::Forget, _) if is_leased => return Ok(Changed::UnderWay),
        (GrantChange::Forget, _) => unset(document, &names.state),
        (GrantChange::Pause | GrantChange::Resume, status) => return Ok(Changed::NotIn(status)),
    }
    table::update(connection, names, &stored)?;
    Ok(Changed::Applied)
}
