//! The server's clock in conditions and updates.
//!
//! A condition on it is part of an update (`$cond`), not of the update's filter (`$expr`): a filter
//! with an `$expr` keeps SecantusDB, the server of the tests, from finding documents by their `_id`: it
//! reads the whole collection then, for every batch.
//!
//! A server that speaks MongoDB's protocol may evaluate these wrongly, and leases that don't hold
//! are worse than no store. So [`super::MongoStore`] tries them before it is used.

use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc, uuid::Uuid};

use super::errors::{code, driver, is_of_access, refused};
use super::{MongoStore, primary_options};
use evergrant_document::numbers::millis;
use evergrant_ports::StoreError;

/// An expression: the server's time, `later`.
pub(super) fn from_now(later: Duration) -> Document {
    from_now_ms(millis(later))
}

// `$dateAdd`, because `$add` does not take `$$NOW` everywhere.
fn from_now_ms(later_ms: i64) -> Document {
    doc! { "$dateAdd": { "startDate": "$$NOW", "unit": "millisecond", "amount": later_ms } }
}

/// An expression: the time at `value` is not in the future, or there is none.
///
/// Both sides are made numbers, because SecantusDB takes every date to equal `$$NOW`.
/// `$convert` rather than `$toLong`, because one document with something else than a time there
/// would fail the command for all of the batch. No time becomes null, which is less than any number.
pub(super) fn is_over(value: &str) -> Document {
    let until = doc! {
        "$convert": { "input": value, "to": "long", "onError": null, "onNull": null },
    };
    doc! { "$lte": [until, { "$toLong": "$$NOW" }] }
}

/// An expression: the time at `value` is later than `later` from now. Numbers, as in [`is_over`].
pub(super) fn is_after(value: &str, later: Duration) -> Document {
    let until = doc! {
        "$convert": { "input": value, "to": "long", "onError": null, "onNull": null },
    };
    doc! { "$gt": [until, { "$toLong": from_now(later) }] }
}

/// Evergrant's own small documents.
pub(super) const META: &str = "evergrant_meta";
/// Far more than a request takes.
const HOUR_MS: i64 = 3_600_000;

impl MongoStore {
    /// Tries whether the server's clock works in conditional updates.
    pub(super) async fn check_clock(&self, operation: &'static str) -> Result<(), StoreError> {
        // Of this check alone: several processes may start at once.
        let check = format!("clock-check-{}", Uuid::new());
        let outcome = self.try_clock(&check).await;
        let meta = self.meta();
        let cleared = meta.delete_many(doc! { "check": &check }).await;
        let works = outcome.and_then(|works| cleared.map(|_| works));
        let why = match works.map_err(|error| (code(&error), driver(operation, &error))) {
            Ok(true) => return Ok(()),
            Ok(false) => "leases would not hold".to_owned(),
            Err((Some(code), StoreError::Refused { reason, .. })) if !is_of_access(code) => reason,
            Err((_, error)) => return Err(error),
        };
        let engine = self.engine(operation).await?;
        Err(refused(operation, format!("{engine} {UNRELIABLE}: {why}")))
    }

    pub(super) fn meta(&self) -> Collection<Document> {
        self.database.collection_with_options(META, primary_options())
    }

    /// Takes three leases twice: one of the past, one of the future, and one that nobody holds. Only
    /// the first taking must find any free, and neither must touch the one of the future.
    async fn try_clock(&self, check: &str) -> Result<bool, mongodb::error::Error> {
        let meta = self.meta();
        let leases = [("past", from_now_ms(-HOUR_MS)), ("future", from_now_ms(HOUR_MS))];
        for (lease, until) in leases.into_iter().chain([("free", doc! { "$literal": null })]) {
            let fields = doc! { "check": check, "lease": lease, "until": until };
            meta.update_one(
                doc! { "_id": format!("{check}-{lease}") },
                vec![doc! { "$set": fields }],
            )
            .upsert(true)
            .await?;
        }
        for taker in ["first", "second"] {
            let free = is_over("$until");
            let take = doc! {
                "taken_by": { "$cond": [&free, taker, "$taken_by"] },
                "until": { "$cond": [free, from_now_ms(HOUR_MS), "$until"] },
            };
            meta.update_many(doc! { "check": check }, vec![doc! { "$set": take }]).await?;
        }
        let taken = async |lease| {
            let found = meta.find_one(doc! { "_id": format!("{check}-{lease}") }).await?;
            let by = found.and_then(|lease| Some(lease.get_str("taken_by").ok()?.to_owned()));
            Ok::<_, mongodb::error::Error>(by)
        };
        let by = [taken("past").await?, taken("future").await?, taken("free").await?];
        let by = by.each_ref().map(Option::as_deref);
        Ok(by == [Some("first"), None, Some("first")])
    }
}

const UNRELIABLE: &str = "does not compare its clock ($$NOW) with stored times in an update as MongoDB does, and \
                          without leases tokens would be exchanged twice; use MongoDB 5.0 or later, or see \
                          docs/servers.md";
