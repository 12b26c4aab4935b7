//! What is kept for operators beside the documents: the audit record, the processes that live, and
//! statistics.

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, params, params_from_iter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::failure::Failure;
use super::SqliteStore;
use super::lease::now;
use evergrant_domain::audit::{ActionIntent, ActionProgress, AuditEntry, AuditFilter};
use evergrant_domain::audit_chain::StoredProgress;
use evergrant_domain::heartbeat::{HEARTBEAT_TTL, Heartbeat};
use evergrant_domain::statistics::{MinuteCounts, ProviderCounts, STATISTICS_TTL, minute_of};
use evergrant_domain::{ProviderId, Timestamp};
use evergrant_ports::{OperationsLog, StoreError, new_audit_id};

#[async_trait]
impl OperationsLog for SqliteStore {
    async fn begin_audit(&self, intent: ActionIntent) -> Result<AuditEntry, StoreError> {
        self.write("begin_audit", move |connection, _| {
            let sql = "SELECT entry FROM audit WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1";
            let last: Option<String> =
                connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
            let last = last.map(|entry| read::<AuditEntry>(&entry)).transpose()?;
            let last = last.and_then(|entry| entry.link);
            let at = now(connection)?;
            let entry = AuditEntry::begin(new_audit_id(at), intent, at, last.as_ref());
            let progress = StoredProgress::new(&entry.id, &entry.progress);
            let sql = "INSERT INTO audit \
                       (id, at_ms, who, action, provider, document, entry, told_ms, progress, number) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            let values = params![
                entry.id,
                entry.at.unix_ms(),
                entry.who,
                entry.action.as_str(),
                entry.provider.as_ref().map(ProviderId::as_str),
                entry.document.as_ref().map(json).transpose()?,
                json(&entry)?,
                entry.told_at.unix_ms(),
                json(&progress)?,
                entry.link.as_ref().map(|link| link.number),
            ];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(progress.put_into(entry, at))
        })
        .await
    }

    async fn tell_audit(&self, id: &str, progress: &ActionProgress) -> Result<(), StoreError> {
        let (id, progress) = (id.to_owned(), progress.clone());
        self.write("tell_audit", move |connection, _| {
            let sql = "UPDATE audit SET told_ms = ?2, progress = ?3 WHERE id = ?1";
            let progress = json(&StoredProgress::new(&id, &progress))?;
            let values = params![id, now(connection)?.unix_ms(), progress];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })
        .await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let filter = filter.clone();
        self.read("audit", move |connection, _| {
            let text = |text: &str| Value::from(text.to_owned());
            let conditions = [
                ("id < ?", filter.before.as_deref().map(text)),
                ("who = ?", filter.who.as_deref().map(text)),
                ("action = ?", filter.action.map(|action| text(action.as_str()))),
                ("provider = ?", filter.provider.as_ref().map(|provider| text(provider.as_str()))),
                ("document = ?", filter.document.as_ref().map(json).transpose()?.map(Value::from)),
                ("at_ms >= ?", filter.since.map(|since| Value::from(since.unix_ms()))),
            ];
            let mut sql = "SELECT entry, told_ms, progress FROM audit WHERE true".to_owned();
            let mut values = Vec::new();
            for (condition, value) in conditions {
                if let Some(value) = value {
                    sql.push_str(" AND ");
                    sql.push_str(condition);
                    values.push(value);
                }
            }
            sql.push_str(" ORDER BY id DESC LIMIT ?");
            values.push(Value::from(filter.limit));
            let mut select = connection.prepare_cached(&sql)?;
            let rows = select.query_map(params_from_iter(values), audit_row)?;
            rows.map(|row| audit_entry(row?)).collect()
        })
        .await
    }

    async fn audit_chain(&self, number: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.read("audit_chain", move |connection, _| {
            let sql =
                "SELECT entry, told_ms, progress FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2";
            let mut select = connection.prepare_cached(sql)?;
            let rows = select.query_map(params![number, limit], audit_row)?;
            rows.map(|row| audit_entry(row?)).collect()
        })
        .await
    }

    async fn audit_entry(&self, id: &str) -> Result<Option<AuditEntry>, StoreError> {
        let id = id.to_owned();
        self.read("audit_entry", move |connection, _| {
            let sql = "SELECT entry, told_ms, progress FROM audit WHERE id = ?1";
            let found = connection.prepare_cached(sql)?.query_row([id], audit_row).optional()?;
            found.map(audit_entry).transpose()
        })
        .await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let heartbeat = heartbeat.clone();
        self.write("beat", move |connection, _| {
            let now = now(connection)?;
            let sql = "INSERT INTO processes (name, beat_ms, beat) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (name) DO UPDATE SET beat_ms = excluded.beat_ms, beat = excluded.beat";
            let values = params![heartbeat.name, now.unix_ms(), json(&heartbeat)?];
            connection.prepare_cached(sql)?.execute(values)?;
            let forgotten_ms = now.minus(HEARTBEAT_TTL).unix_ms();
            let sql = "DELETE FROM processes WHERE beat_ms < ?1";
            connection.prepare_cached(sql)?.execute([forgotten_ms])?;
            Ok(())
        })
        .await
    }

    async fn end_beat(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write("end_beat", move |connection, _| {
            connection.prepare_cached("DELETE FROM processes WHERE name = ?1")?.execute([name])?;
            Ok(())
        })
        .await
    }

    async fn processes(&self) -> Result<Vec<Heartbeat>, StoreError> {
        self.read("processes", move |connection, _| {
            let mut select =
                connection.prepare_cached("SELECT beat, beat_ms FROM processes ORDER BY name")?;
            let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
            let mut processes = Vec::new();
            for found in select.query_map([], row)? {
                let (beat, beat_ms) = found?;
                let beat_at = Timestamp::from_unix_ms(beat_ms);
                processes.push(Heartbeat { beat_at, ..read(&beat)? });
            }
            processes.sort_by_key(|process| process.role);
            Ok(processes)
        })
        .await
    }

    async fn add_statistics(
        &self,
        counts: &[(ProviderId, ProviderCounts)],
    ) -> Result<(), StoreError> {
        let counts = counts.to_vec();
        self.write("add_statistics", move |connection, _| {
            let now = now(connection)?;
            let minute_ms = minute_of(now).unix_ms();
            let sql = "INSERT INTO statistics (minute_ms, provider, name, n) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT (minute_ms, provider, name) DO UPDATE SET n = n + excluded.n";
            let mut add = connection.prepare_cached(sql)?;
            for (provider, counts) in counts {
                for count in counts.named() {
                    let n = i64::try_from(count.n).unwrap_or(i64::MAX);
                    add.execute(params![minute_ms, provider.as_str(), count.name, n])?;
                }
            }
            let sql = "DELETE FROM statistics WHERE minute_ms < ?1";
            connection.prepare_cached(sql)?.execute([now.minus(STATISTICS_TTL).unix_ms()])?;
            Ok(())
        })
        .await
    }

    async fn statistics(&self, since: Timestamp) -> Result<Vec<MinuteCounts>, StoreError> {
        self.read("statistics", move |connection, _| {
            let sql = "SELECT minute_ms, provider, name, n FROM statistics WHERE minute_ms >= ?1 \
                       ORDER BY minute_ms, provider";
            let mut select = connection.prepare_cached(sql)?;
            let mut rows = select.query([minute_of(since).unix_ms()])?;
            let mut minutes: Vec<MinuteCounts> = Vec::new();
            while let Some(row) = rows.next()? {
                let minute = Timestamp::from_unix_ms(row.get(0)?);
                let Ok(provider) = row.get::<_, String>(1)?.parse::<ProviderId>() else { continue };
                let same = |last: &MinuteCounts| last.minute == minute && last.provider == provider;
                if !minutes.last().is_some_and(same) {
                    minutes.push(MinuteCounts {
                        provider,
                        minute,
                        counts: ProviderCounts::default(),
                    });
                }
                if let Some(last) = minutes.last_mut() {
                    last.counts.add_named(&row.get::<_, String>(2)?, row.get::<_, u64>(3)?);
                }
            }
            Ok(minutes)
        })
        .await
    }
}

type AuditRow = (String, i64, String);

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn audit_entry((entry, told_ms, progress): AuditRow) -> Result<AuditEntry, Failure> {
    let progress = read::<StoredProgress>(&progress)?;
    Ok(progress.put_into(read(&entry)?, Timestamp::from_unix_ms(told_ms)))
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|_| Failure::refused("a record for operators cannot be written as JSON"))
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|_| {
        Failure::refused(
            "a record for operators cannot be read: was it written by a later release? Upgrade \
             this one",
        )
    })
}
