//! What is kept for operators beside the documents: the audit record, the processes that live, and
//! statistics. What the server need not look into is JSON.

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel, error::Error};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::coordinate::is_duplicate;
use super::errors::{driver, refused};
use super::uncancelled::{SHORT_TIMEOUT, uncancelled};
use super::update::{HINT, JOURNALLED};
use super::{MongoStore, primary_options};
use evergrant_document::decode::timestamp;
use evergrant_document::document_update::date;
use evergrant_document::numbers::number;
use evergrant_domain::audit::{ActionIntent, ActionProgress, AuditEntry, AuditFilter};
use evergrant_domain::audit_chain::{ChainLink, StoredProgress};
use evergrant_domain::heartbeat::{HEARTBEAT_TTL, Heartbeat};
use evergrant_domain::statistics::{MinuteCounts, ProviderCounts, STATISTICS_TTL, minute_of};
use evergrant_domain::{ProviderId, Timestamp};
use evergrant_ports::{OperationsLog, StoreError, new_audit_id};

#[async_trait]
impl OperationsLog for MongoStore {
    async fn begin_audit(&self, intent: ActionIntent) -> Result<AuditEntry, StoreError> {
        const OPERATION: &str = "begin_audit";
        let this = self.clone();
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let audit = this.records(AUDIT);
            let failed = |error| driver(OPERATION, &error);
            // Two that begin at once would get one number; the index lets one of them.
            let once = IndexOptions::builder().unique(true).sparse(true).build();
            let index = IndexModel::builder().keys(doc! { "number": 1 }).options(once).build();
            audit.create_index(index).await.map_err(failed)?;
            let mut tries = 0;
            loop {
                let last = this.last_link(OPERATION).await?;
                let now = this.server_now(OPERATION).await?;
                let entry =
                    AuditEntry::begin(new_audit_id(now), intent.clone(), now, last.as_ref());
                let progress = StoredProgress::new(&entry.id, &entry.progress);
                let document = audit_document(OPERATION, &entry, &progress)?;
                match audit.insert_one(document).write_concern(JOURNALLED.concern()).await {
                    Ok(_) => return Ok(progress.put_into(entry, now)),
                    Err(error) if is_duplicate(&error) && tries < NUMBER_TRIES_MAX => tries += 1,
                    Err(error) => return Err(failed(error)),
                }
            }
        })
        .await
    }

    async fn tell_audit(&self, id: &str, progress: &ActionProgress) -> Result<(), StoreError> {
        const OPERATION: &str = "tell_audit";
        let (this, id, progress) = (self.clone(), id.to_owned(), progress.clone());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let (now, _) = this.estimated_now(OPERATION).await?;
            let progress = json(OPERATION, &StoredProgress::new(&id, &progress))?;
            let told = doc! { "told_at": date(now), "progress": progress };
            let audit = this.records(AUDIT);
            let updated = audit.update_one(doc! { "_id": id }, doc! { "$set": told }).await;
            updated.map(drop).map_err(|error| driver(OPERATION, &error))
        })
        .await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        const OPERATION: &str = "audit";
        let (this, filter) = (self.clone(), filter.clone());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            if filter.limit == 0 {
                // To the server, no limit.
                return Ok(Vec::new());
            }
            let mut wanted = Document::new();
            if let Some(before) = &filter.before {
                wanted.insert("_id", doc! { "$lt": before });
            }
            if let Some(who) = &filter.who {
                wanted.insert("who", who);
            }
            if let Some(action) = filter.action {
                wanted.insert("action", action.as_str());
            }
            if let Some(provider) = &filter.provider {
                wanted.insert("provider", provider.as_str());
            }
            if let Some(id) = &filter.document {
                wanted.insert("document", json(OPERATION, id)?);
            }
            if let Some(since) = filter.since {
                wanted.insert("at", doc! { "$gte": date(since) });
            }
            let audit = this.records(AUDIT);
            let newest_first = audit.find(wanted).sort(doc! { "_id": -1 });
            let found = all(newest_first.limit(i64::from(filter.limit)).await).await;
            let found = found.map_err(|error| driver(OPERATION, &error))?;
            found.iter().map(|document| audit_entry(OPERATION, document)).collect()
        })
        .await
    }

    async fn audit_chain(&self, number: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        const OPERATION: &str = "audit_chain";
        let this = self.clone();
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let after = doc! { "number": { "$gt": i64::try_from(number).unwrap_or(i64::MAX) } };
            let audit = this.records(AUDIT);
            let chain = audit.find(after).sort(doc! { "number": 1 }).limit(i64::from(limit.max(1)));
            let found = all(chain.await).await.map_err(|error| driver(OPERATION, &error))?;
            found.iter().map(|document| audit_entry(OPERATION, document)).collect()
        })
        .await
    }

    async fn audit_entry(&self, id: &str) -> Result<Option<AuditEntry>, StoreError> {
        const OPERATION: &str = "audit_entry";
        let (this, id) = (self.clone(), id.to_owned());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let found = this.records(AUDIT).find_one(doc! { "_id": id }).await;
            let found = found.map_err(|error| driver(OPERATION, &error))?;
            found.map(|document| audit_entry(OPERATION, &document)).transpose()
        })
        .await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        const OPERATION: &str = "beat";
        let (this, heartbeat) = (self.clone(), heartbeat.clone());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let failed = |error| driver(OPERATION, &error);
            let (now, _) = this.estimated_now(OPERATION).await?;
            let processes = this.records(PROCESSES);
            let beat = doc! { "beat_at": date(now), "beat": json(OPERATION, &heartbeat)? };
            let written = processes
                .update_one(doc! { "_id": &heartbeat.name }, doc! { "$set": beat })
                .upsert(true)
                .write_concern(HINT.concern())
                .await;
            match written {
                // Two at once: the other one is as good.
                Err(error) if is_duplicate(&error) => {}
                written => drop(written.map_err(failed)?),
            }
            let forgotten = doc! { "beat_at": { "$lt": date(now.minus(HEARTBEAT_TTL)) } };
            let removed = processes.delete_many(forgotten).write_concern(HINT.concern()).await;
            removed.map(drop).map_err(failed)
        })
        .await
    }

    async fn end_beat(&self, name: &str) -> Result<(), StoreError> {
        let (this, name) = (self.clone(), name.to_owned());
        uncancelled("end_beat", SHORT_TIMEOUT, async move {
            let processes = this.records(PROCESSES);
            let removed = processes.delete_one(doc! { "_id": name });
            let removed = removed.write_concern(HINT.concern()).await;
            removed.map(drop).map_err(|error| driver("end_beat", &error))
        })
        .await
    }

    async fn processes(&self) -> Result<Vec<Heartbeat>, StoreError> {
        const OPERATION: &str = "processes";
        let this = self.clone();
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let found = all(this.records(PROCESSES).find(doc! {}).await).await;
            let found = found.map_err(|error| driver(OPERATION, &error))?;
            let beat = |document: &Document| {
                let heartbeat: Heartbeat = read(OPERATION, document, "beat")?;
                Ok(Heartbeat { beat_at: time(document, "beat_at"), ..heartbeat })
            };
            let mut processes = found.iter().map(beat).collect::<Result<Vec<_>, StoreError>>()?;
            processes.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
            Ok(processes)
        })
        .await
    }

    async fn add_statistics(
        &self,
        counts: &[(ProviderId, ProviderCounts)],
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "add_statistics";
        let (this, counts) = (self.clone(), counts.to_vec());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let (now, _) = this.estimated_now(OPERATION).await?;
            let minute = minute_of(now);
            let statistics = this.records(STATISTICS);
            for (provider, counts) in counts.iter().filter(|(_, counts)| !counts.is_empty()) {
                let increments = counts.named().into_iter().map(|count| {
                    let n = i64::try_from(count.n).unwrap_or(i64::MAX);
                    (format!("counts.{}", count.name), Bson::Int64(n))
                });
                let add = doc! { "$inc": increments.collect::<Document>() };
                let id = doc! { "_id": format!("{}{provider}", minute_key(minute)) };
                let adding = || {
                    let adding = statistics.update_one(id.clone(), add.clone()).upsert(true);
                    adding.write_concern(HINT.concern())
                };
                let added = match adding().await {
                    // Another one has just made it: now it is there to be added to.
                    Err(error) if is_duplicate(&error) => adding().await,
                    added => added,
                };
                added.map_err(|error| driver(OPERATION, &error))?;
            }
            let forgotten = doc! { "_id": { "$lt": minute_key(now.minus(STATISTICS_TTL)) } };
            let removed = statistics.delete_many(forgotten).write_concern(HINT.concern()).await;
            removed.map(drop).map_err(|error| driver(OPERATION, &error))
        })
        .await
    }

    async fn statistics(&self, since: Timestamp) -> Result<Vec<MinuteCounts>, StoreError> {
        const OPERATION: &str = "statistics";
        let this = self.clone();
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let since = doc! { "_id": { "$gte": minute_key(minute_of(since)) } };
            let found = this.records(STATISTICS).find(since).sort(doc! { "_id": 1 }).await;
            let found = all(found).await.map_err(|error| driver(OPERATION, &error))?;
            Ok(found.iter().filter_map(minute_counts).collect())
        })
        .await
    }
}

const AUDIT: &str = "evergrant_audit";
const PROCESSES: &str = "evergrant_processes";
const STATISTICS: &str = "evergrant_statistics";
/// How often a number in the chain is tried for that another process takes first.
const NUMBER_TRIES_MAX: u32 = 50;

impl MongoStore {
    pub(super) fn records(&self, name: &str) -> Collection<Document> {
        self.database.collection_with_options(name, primary_options())
    }

    /// The end of the chain.
    async fn last_link(&self, operation: &'static str) -> Result<Option<ChainLink>, StoreError> {
        let audit = self.records(AUDIT);
        let last = audit.find_one(doc! { "number": { "$gt": 0 } }).sort(doc! { "number": -1 });
        let last = last.await.map_err(|error| driver(operation, &error))?;
        let last = last.map(|document| audit_entry(operation, &document)).transpose()?;
        Ok(last.and_then(|entry| entry.link))
    }
}

/// The beginning of the `_id` of a minute's counts. It sorts by time.
fn minute_key(minute: Timestamp) -> String {
    format!("{:013}/", minute.unix_ms().max(0))
}

/// None for what someone else has put there.
fn minute_counts(document: &Document) -> Option<MinuteCounts> {
    let (minute, provider) = document.get_str("_id").ok()?.split_once('/')?;
    let mut counts = ProviderCounts::default();
    for (name, n) in document.get_document("counts").ok()? {
        counts.add_named(name, number(n).and_then(|n| u64::try_from(n).ok()).unwrap_or_default());
    }
    let minute = Timestamp::from_unix_ms(minute.parse().ok()?);
    Some(MinuteCounts { provider: provider.parse().ok()?, minute, counts })
}

pub(super) async fn all(
    found: Result<mongodb::Cursor<Document>, Error>,
) -> Result<Vec<Document>, Error> {
    found?.try_collect().await
}

fn audit_entry(operation: &'static str, document: &Document) -> Result<AuditEntry, StoreError> {
    let progress: StoredProgress = read(operation, document, "progress")?;
    Ok(progress.put_into(read(operation, document, "entry")?, time(document, "told_at")))
}

fn audit_document(
    operation: &'static str,
    entry: &AuditEntry,
    progress: &StoredProgress,
) -> Result<Document, StoreError> {
    let mut document = doc! {
        "_id": &entry.id,
        "at": date(entry.at),
        "who": &entry.who,
        "action": entry.action.as_str(),
        "entry": json(operation, entry)?,
        "told_at": date(entry.told_at),
        "progress": json(operation, progress)?,
    };
    if let Some(number) = entry.link.as_ref().and_then(|link| i64::try_from(link.number).ok()) {
        document.insert("number", number);
    }
    if let Some(provider) = &entry.provider {
        document.insert("provider", provider.as_str());
    }
    if let Some(id) = &entry.document {
        document.insert("document", json(operation, id)?);
    }
    Ok(document)
}

fn time(document: &Document, field: &str) -> Timestamp {
    document.get_datetime(field).map(|time| timestamp(*time)).unwrap_or_default()
}

pub(super) fn json(operation: &'static str, value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| refused(operation, "it cannot be written as JSON"))
}

pub(super) fn read<T: DeserializeOwned>(
    operation: &'static str,
    document: &Document,
    field: &str,
) -> Result<T, StoreError> {
    let text = document.get_str(field).unwrap_or_default();
    serde_json::from_str(text).map_err(|_| {
        let id = document.get_str("_id").unwrap_or("without a name");
        let reason = format!(
            "the record {id} cannot be read: was it written by a later release? Upgrade this one"
        );
        refused(operation, reason)
    })
}
