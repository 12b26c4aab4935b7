//! Whether the server writes commits as MongoDB does, tried before any token is exchanged.
//!
//! A server that speaks MongoDB's protocol may know less of its expressions. A commit that it cannot
//! carry out would be found out only when the provider has rotated the token.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc, uuid::Uuid};

use super::MongoStore;
use super::change::HELD_BEFORE;
use super::clock::META;
use super::errors::{driver, refused};
use super::names::{Names, at};
use super::settings::Fields;
use super::together::{self, MANY};
use super::update::DURABLE;
use crate::domain::import::{BEGINNING, mark};
use crate::domain::schedule::Times;
use crate::domain::{DocumentId, Status, Timestamp, Write};
use crate::ports::{Commit, StoreError};

impl MongoStore {
    /// Tries a commit of several documents, which not all of them fit.
    pub(super) async fn check_commits(&self, operation: &'static str) -> Result<(), StoreError> {
        // Of this check alone: several processes may start at once.
        let check = format!("commit-check-{}", Uuid::new());
        let outcome = self.try_commits(operation, &check).await;
        let cleared = self.meta().delete_many(doc! { "check": &check }).await;
        let works = outcome?;
        cleared.map_err(|error| driver(operation, &error))?;
        if works { Ok(()) } else { Err(refused(operation, UNRELIABLE)) }
    }

    async fn try_commits(&self, operation: &'static str, check: &str) -> Result<bool, StoreError> {
        let failed = |error| driver(operation, &error);
        let before: Vec<_> = CASES.iter().map(|case| case.document(check)).collect();
        self.meta().insert_many(&before).await.map_err(failed)?;
        let commits: Vec<_> = CASES.iter().map(|case| case.commit(check)).collect();
        let names = Names::new("state", Fields::default());
        let statements = together::statements(&names, &commits.iter().collect::<Vec<_>>(), MANY);
        let statements = statements.unwrap_or_default();
        let written = self.update_in(META, operation, statements, DURABLE).await?.modified;
        let after = self.meta().find(doc! { "check": check }).await.map_err(failed)?;
        let after: Vec<_> = after.try_collect().await.map_err(failed)?;
        let is_right = |(case, before): (&Case, &Document)| {
            let mut after = after.iter();
            let after = after.find(|after| after.get("_id") == before.get("_id"));
            after.is_some_and(|after| case.is_right(before, after))
        };
        Ok(written == 2 && CASES.iter().zip(&before).all(is_right))
    }
}

/// A document that new tokens are written to, all in one update.
struct Case {
    name: &'static str,
    /// The token that it holds by now. What was sent is [`SENT`].
    holds: &'static str,
    status: Status,
}

/// One that is as it was claimed, one that an operator has paused meanwhile, and one whose user has
/// signed in again.
const CASES: [Case; 3] = [
    Case { name: "claimed", holds: SENT, status: Status::Active },
    Case { name: "paused", holds: SENT, status: Status::Paused },
    Case { name: "newer", holds: "$newer", status: Status::Active },
];
/// Tokens may begin with what expressions take for the name of a field.
const SENT: &str = "$sent";
const ANSWERED: &str = "$answered";

impl Case {
    fn id(&self, check: &str) -> String {
        format!("{check}-{}", self.name)
    }

    fn document(&self, check: &str) -> Document {
        let state = doc! {
            "lease": { "owner": check },
            "status": self.status.as_str(),
            "kept": [{ "a": 1_i64 }],
            (HELD_BEFORE): [1_i64],
        };
        doc! { "_id": self.id(check), "refresh_token": self.holds, "check": check, "state": state }
    }

    fn commit(&self, check: &str) -> Commit {
        let now = Timestamp::of_this_machine();
        let times = Times {
            access_expires_at: now,
            refresh_idle_until: Some(now),
            refresh_absolute_until: None,
            next_refresh_at: now,
        };
        let write = Write::Refresh {
            access_token: ANSWERED.into(),
            refresh_token: Some(ANSWERED.into()),
            refreshed_at: now,
            times,
        };
        Commit {
            id: DocumentId::String(self.id(check)),
            owner: check.to_owned(),
            generation: Some(0),
            sent: Some(SENT.into()),
            write,
        }
    }

    fn is_right(&self, before: &Document, after: &Document) -> bool {
        if self.holds != SENT {
            return after == before;
        }
        let text = |path| at(after, path).and_then(Bson::as_str);
        text("access_token") == Some(ANSWERED)
            && text("refresh_token") == Some(ANSWERED)
            && text("state.status") == Some(self.status.as_str())
            && at(after, "state.lease").is_none()
            && at(after, "state.kept") == at(before, "state.kept")
            && at(after, &format!("state.{HELD_BEFORE}")) == Some(&marks())
    }
}

/// What a document has of the tokens that it held before, after its first refresh.
fn marks() -> Bson {
    Bson::from(vec![1_i64, BEGINNING, mark(Some(&SENT.into()))])
}

const UNRELIABLE: &str = "this server does not carry out conditional updates of many documents as \
                          MongoDB does, so new tokens could be lost; use MongoDB 5.0 or later";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_writes_nothing_or_where_nothing_fits_is_found_out() {
        let [claimed, paused, newer] = CASES;
        let before = claimed.document("check");
        assert!(!claimed.is_right(&before, &before));

        let mut after = before.clone();
        after.insert("access_token", ANSWERED);
        after.insert("refresh_token", ANSWERED);
        let state = doc! { "status": "active", "kept": [{ "a": 1_i64 }], (HELD_BEFORE): marks() };
        after.insert("state", state);
        assert!(claimed.is_right(&before, &after));
        assert!(!paused.is_right(&before, &after), "it is active again");
        assert!(!newer.is_right(&newer.document("check"), &after), "newer tokens are overwritten");
    }
}
