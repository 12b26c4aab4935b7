//! What is due, soonest first.

use bson::{Bson, Document};

use super::documents::{Documents, is_text};
use evergrant_document::ids::user_ids;
use evergrant_document::paths::at;
use evergrant_document::{decode, ids};
use evergrant_domain::{GrantStatus, Timestamp};
use evergrant_ports::{DueGrant, DueQuery, DueSelection};

impl Documents {
    pub(super) fn due(&self, query: &DueQuery, now: Timestamp) -> Vec<DueGrant> {
        let mut found: Vec<_> = self
            .all()
            .filter(|document| self.is_wanted(document, query, now))
            .map(|document| {
                let (generation, due_at) = decode::due(&self.names, document);
                let grant = DueGrant {
                    id: ids::from_bson(document.get("_id").unwrap_or(&Bson::Null)),
                    provider: query.provider.clone(),
                    generation,
                    next_refresh_at: due_at.unwrap_or(now),
                };
                (due_at, grant)
            })
            .collect();
        // Those of one time stay in the order of their ids.
        found.sort_by_key(|(due_at, _)| *due_at);
        found.into_iter().map(|(_, grant)| grant).collect()
    }

    fn is_wanted(&self, document: &Document, query: &DueQuery, now: Timestamp) -> bool {
        if !is_text(document, "evergrant.provider", query.provider.as_str())
            || !is_text(document, "evergrant.status", GrantStatus::Active.as_str())
        {
            return false;
        }
        let due_at = time_ms(document, "evergrant.next_refresh_at");
        let from = query.from.is_none_or(|from| due_at.is_some_and(|at| at >= from.unix_ms()));
        let which = match &query.which {
            // What is missing or no date is due too, so that a worker says what is wrong.
            DueSelection::Due => {
                let queued_until = time_ms(document, "evergrant.queued_until");
                [due_at, queued_until].iter().flatten().all(|at| *at <= now.unix_ms())
            }
            DueSelection::All => true,
            DueSelection::User(user) => self.is_users(document, user),
        };
        from && which
    }

    /// Whether the document is that of the user whom someone typed.
    pub(super) fn is_users(&self, document: &Document, user: &str) -> bool {
        let found = at(document, &self.names.fields.user_id).map(ids::from_bson);
        found.is_some_and(|id| user_ids(user).iter().any(|wanted| ids::from_bson(wanted) == id))
    }
}

fn time_ms(document: &Document, path: &str) -> Option<i64> {
    match at(document, path) {
        Some(Bson::DateTime(time)) => Some(time.timestamp_millis()),
        _ => None,
    }
}
