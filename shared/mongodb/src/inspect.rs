//! What there is and what is missing, for `evergrant doctor`.

use std::time::Duration;

use futures::TryStreamExt;
use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};

use super::errors::driver;
use super::{MongoStore, is_router};
use evergrant_document::numbers::number;
use evergrant_domain::{GrantStatus, ProviderId};
use evergrant_ports::{
    DOCUMENTS_OF, InspectionFinding, LEFT_ALONE, StoreError, UnadoptedDocuments,
};

/// How long a count over the collection may take.
const COUNT_TIMEOUT: Duration = Duration::from_secs(20);
/// Users with several documents are counted up to this many.
const DUPLICATES_MAX: i32 = 5;

fn finding(what: &str, ok: bool, detail: impl Into<String>) -> InspectionFinding {
    InspectionFinding { what: what.to_owned(), ok, detail: detail.into() }
}

impl MongoStore {
    pub(super) async fn findings(&self) -> Vec<InspectionFinding> {
        let reached = self.find_server().await;
        let mut findings = vec![outcome("MongoDB", reached)];
        if findings.iter().all(|finding| finding.ok) {
            findings.push(outcome("MongoDB clock", self.find_clock().await));
            findings.push(outcome("MongoDB durability", self.find_durability().await));
            findings.push(outcome("MongoDB indexes", self.find_indexes().await));
            findings.extend(self.find_expiry().await);
            findings.push(outcome("token documents", self.find_documents().await));
            let providers = self.find_providers().await;
            match self.count_unadopted().await {
                Ok(left) => {
                    findings.extend(UnadoptedDocuments::finding(&left, providers.is_empty()))
                }
                Err(error) => findings.push(outcome(LEFT_ALONE, Err(error))),
            }
            findings.extend(providers);
            findings.push(outcome("users", self.find_duplicates().await));
        }
        findings
    }

    async fn find_server(&self) -> Result<(bool, String), StoreError> {
        let engine = self.engine("inspect").await?;
        Ok((true, format!("{engine}, collection {}", self.collection.namespace())))
    }

    async fn find_clock(&self) -> Result<(bool, String), StoreError> {
        self.check_clock("inspect").await?;
        let now = self.server_now("inspect").await?;
        Ok((true, format!("leases hold; the server's time is {now}")))
    }

    /// Whether a write can be lost, or lost after it was acknowledged.
    async fn find_durability(&self) -> Result<(bool, String), StoreError> {
        let hello = self.command("inspect", doc! { "hello": 1 }).await?;
        let detail = match hello.get_str("setName") {
            Ok(name) => format!("replica set {name}: commits wait for a majority's journals"),
            Err(_) if is_router(&hello) => {
                "sharded: commits wait for a majority's journals".to_owned()
            }
            Err(_) => {
                "a single server: commits wait for its journal; if its disk is lost, so are the \
                  tokens since the last backup"
                    .to_owned()
            }
        };
        Ok((true, detail))
    }

    async fn find_indexes(&self) -> Result<(bool, String), StoreError> {
        let missing: Vec<_> =
            self.missing_indexes("inspect").await?.into_iter().map(|(name, _)| name).collect();
        if missing.is_empty() {
            return Ok((true, "as expected".to_owned()));
        }
        let missing = missing.join(" and ");
        Ok((false, format!("{missing} missing; evergrant-producer makes them when it starts")))
    }

    /// A TTL index deletes documents by a time that Evergrant does not move.
    async fn find_expiry(&self) -> Option<InspectionFinding> {
        let there = self.list_indexes().await.ok()?;
        let expires = |index: &&IndexModel| {
            index.options.as_ref().is_some_and(|options| options.expire_after.is_some())
        };
        let index = there.iter().find(expires)?;
        let name = index.options.as_ref().and_then(|options| options.name.clone());
        let fields = index.keys.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let detail = format!(
            "the TTL index {} on {fields} deletes documents whose grants Evergrant keeps alive: drop it, \
             or give it a partial filter that leaves those documents out",
            name.unwrap_or_default()
        );
        Some(finding("MongoDB TTL index", false, detail))
    }

    async fn list_indexes(&self) -> Result<Vec<IndexModel>, StoreError> {
        let failed = |error| driver("inspect", &error);
        let listed = self.collection.list_indexes().await.map_err(failed)?;
        listed.try_collect().await.map_err(failed)
    }

    async fn find_documents(&self) -> Result<(bool, String), StoreError> {
        let group = doc! { "$group": { "_id": self.names.value("status"), "n": { "$sum": 1 } } };
        let mut counts = [0; GrantStatus::ALL.len()];
        let (mut without, mut unknown) = (0, 0);
        for row in self.aggregate("inspect", vec![group]).await? {
            let n = row.get("n").and_then(number).unwrap_or_default();
            match row.get("_id") {
                None | Some(Bson::Null | Bson::Undefined) => without += n,
                Some(Bson::String(name)) => {
                    match GrantStatus::ALL.iter().position(|s| s.as_str() == name) {
                        Some(index) => counts[index] += n,
                        None => unknown += n,
                    }
                }
                Some(_) => unknown += n,
            }
        }
        let mut words: Vec<_> = GrantStatus::ALL
            .iter()
            .zip(counts)
            .map(|(status, n)| format!("{n} {status}"))
            .collect();
        words.push(format!("{without} not adopted yet"));
        if unknown > 0 {
            words.push(format!(
                "{unknown} with a status that Evergrant does not know: correct them"
            ));
        }
        Ok((unknown == 0, words.join(", ")))
    }

    /// One finding for each provider that documents name.
    async fn find_providers(&self) -> Vec<InspectionFinding> {
        let group = doc! { "$group": { "_id": self.names.value("provider"), "n": { "$sum": 1 } } };
        let rows =
            match self.aggregate("inspect", vec![group, doc! { "$sort": { "_id": 1 } }]).await {
                Ok(rows) => rows,
                Err(error) => return vec![outcome("documents of each provider", Err(error))],
            };
        let provider = |row: &Document| {
            let name: ProviderId = row.get_str("_id").ok()?.parse().ok()?;
            let count = row.get("n").and_then(number).unwrap_or_default();
            Some(finding(&format!("{DOCUMENTS_OF}{name}"), true, count.to_string()))
        };
        rows.iter().filter_map(provider).collect()
    }

    /// Two documents of one user may hold one grant twice, and then its rotation kills one of them.
    async fn find_duplicates(&self) -> Result<(bool, String), StoreError> {
        let user = format!("${}", self.names.fields.user_id);
        let provider = self.names.value("provider");
        let rows = self
            .aggregate("inspect", vec![
                doc! { "$group": { "_id": { "user": user, "provider": provider }, "n": { "$sum": 1 } } },
                doc! { "$match": { "n": { "$gt": 1 }, "_id.user": { "$ne": null } } },
                doc! { "$limit": DUPLICATES_MAX },
            ])
            .await?;
        let detail = match rows.len() {
            0 => "each has one document".to_owned(),
            n => {
                let or_more = if n == DUPLICATES_MAX as usize { " or more" } else { "" };
                format!(
                    "{n}{or_more} have several documents of one provider, which is sound only if \
                     each holds a grant of its own"
                )
            }
        };
        Ok((true, detail))
    }

    /// Counts over the collection.
    pub(super) async fn aggregate(
        &self,
        operation: &'static str,
        pipeline: Vec<Document>,
    ) -> Result<Vec<Document>, StoreError> {
        let failed = |error| driver(operation, &error);
        let cursor =
            self.collection.aggregate(pipeline).max_time(COUNT_TIMEOUT).allow_disk_use(true);
        cursor.await.map_err(failed)?.try_collect().await.map_err(failed)
    }
}

fn outcome(what: &str, found: Result<(bool, String), StoreError>) -> InspectionFinding {
    match found {
        Ok((ok, detail)) => finding(what, ok, detail),
        Err(StoreError::Unavailable { reason, .. } | StoreError::Refused { reason, .. }) => {
            finding(what, false, reason)
        }
    }
}
