//! What operators see of grants, page by page, each order by an index of its own.
//!
//! A page begins after the last document of the one before. The server compares a value only with
//! those of its type, and ids may be of several types: so what comes after an id is first what is
//! greater, and then what is of a later type, each asked for by itself.

use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use super::MongoStore;
use super::errors::{driver, is_cursor_gone};
use super::uncancelled::{DocumentSender, ReaderGone};
use evergrant_document::document_update::date;
use evergrant_document::ids::user_ids;
use evergrant_document::paths::at;
use evergrant_document::{decode, ids};
use evergrant_domain::GrantStatus;
use evergrant_ports::{GrantFilter, GrantOrder, GrantPlace, GrantView, StoreError};

impl MongoStore {
    /// Sends what matches. When a cursor is gone because whoever takes is slow, another one goes on
    /// after the last grant.
    pub(super) async fn send_views(
        &self,
        mut filter: GrantFilter,
        sender: DocumentSender<GrantView>,
    ) -> Result<(), ReaderGone> {
        let mut left = filter.limit.unwrap_or(u64::MAX);
        'from_place: loop {
            let stretches = match self.stretches(&filter).await {
                Ok(stretches) => stretches,
                Err(error) => return sender.send(Err(error)).await,
            };
            for stretch in stretches {
                if left == 0 {
                    // To the server, no limit.
                    return Ok(());
                }
                let mut last = None;
                let sent = self.send_stretch(&filter, stretch, &mut left, &mut last, &sender);
                match (sent.await?, last) {
                    (Ok(()), _) => {}
                    (Err(error), Some(last)) if is_cursor_gone(&error) => {
                        filter.after = Some(last);
                        continue 'from_place;
                    }
                    (Err(error), _) => return sender.send(Err(driver("list", &error))).await,
                }
            }
            return Ok(());
        }
    }

    /// Sends at most so many as are left of what matches, and notes the place of the last one.
    async fn send_stretch(
        &self,
        filter: &GrantFilter,
        stretch: Document,
        left: &mut u64,
        last: &mut Option<GrantPlace>,
        sender: &DocumentSender<GrantView>,
    ) -> Result<Result<(), mongodb::error::Error>, ReaderGone> {
        let order = match filter.order() {
            GrantOrder::Id => doc! { "_id": 1 },
            GrantOrder::Due => doc! { self.names.path("next_refresh_at"): 1, "_id": 1 },
            GrantOrder::Expiry => doc! { self.names.path("refresh_idle_until"): 1, "_id": 1 },
            GrantOrder::Email => doc! { &self.names.fields.email: 1, "_id": 1 },
        };
        let find = self.collection.find(stretch).sort(order).projection(self.view_projection());
        let limit = i64::try_from(*left).unwrap_or(i64::MAX);
        let mut cursor = match find.limit(limit).await {
            Ok(cursor) => cursor,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            match cursor.try_next().await {
                Ok(Some(document)) => {
                    let view = decode::view(&self.names, &document);
                    *last = Some(GrantPlace::from_grant(&view, filter.order()));
                    sender.send(Ok(view)).await?;
                    *left -= 1;
                }
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// What is asked for, in the parts that the server can compare.
    async fn stretches(&self, filter: &GrantFilter) -> Result<Vec<Document>, StoreError> {
        let wanted = self.view_filter(filter).await?;
        let Some(place) = &filter.after else { return Ok(vec![wanted]) };
        let after = self.after(place, filter.order());
        let both = |after| doc! { "$and": [wanted.clone(), after] };
        Ok(after.into_iter().map(both).collect())
    }

    /// What comes after a place, in parts.
    fn after(&self, place: &GrantPlace, order: GrantOrder) -> Vec<Document> {
        let ids = ids::after(&place.id);
        if ids.is_empty() {
            return Vec::new();
        }
        let time = |time: Option<_>| time.map_or(Bson::Null, |time| date(time).into());
        let (path, value) = match order {
            GrantOrder::Id => return ids,
            GrantOrder::Due => (self.names.path("next_refresh_at"), time(place.due)),
            GrantOrder::Expiry => (self.names.path("refresh_idle_until"), time(place.expires)),
            GrantOrder::Email => {
                let value = place.email.clone().map_or(Bson::Null, Bson::from);
                (self.names.fields.email.clone(), value)
            }
        };
        let greater = match value {
            // The server's order has nothing before it that is asked for.
            Bson::Null => doc! { &path: { "$ne": null } },
            _ => doc! { &path: { "$gt": &value } },
        };
        let same = ids.into_iter().map(|ids| doc! { "$and": [{ &path: &value }, ids] });
        same.chain([greater]).collect()
    }

    async fn view_filter(&self, wanted: &GrantFilter) -> Result<Document, StoreError> {
        let mut filter = Document::new();
        let order = wanted.order();
        let provider = self.names.path("provider");
        if let Some(name) = &wanted.provider {
            filter.insert(&provider, name.as_str());
        } else if order.is_by_time() {
            // The index begins with the provider.
            let mut known = self.known_providers().await?;
            match known.len() {
                0 => {}
                // SecantusDB does not sort by the index for `$in`.
                1 => drop(filter.insert(&provider, known.remove(0))),
                _ => drop(filter.insert(&provider, doc! { "$in": known })),
            }
        }
        let status = self.names.path("status");
        match wanted.status_wanted() {
            Some(wanted) => drop(filter.insert(status, wanted.as_str())),
            // So that the index by provider, status and id can be used.
            None if wanted.provider.is_some() && order == GrantOrder::Id => {
                let all = GrantStatus::ALL.map(GrantStatus::as_str);
                filter.insert(status, doc! { "$in": all.as_slice() });
            }
            None => {}
        }
        if let Some(user) = &wanted.user {
            filter.insert(&self.names.fields.user_id, doc! { "$in": user_ids(user) });
        }
        self.ask_for_email(&mut filter, wanted);
        if let Some(due_by) = wanted.due_by {
            filter.insert(self.names.path("next_refresh_at"), doc! { "$lte": date(due_by) });
        }
        if let Some(expires_by) = wanted.expires_by {
            filter.insert(self.names.path("refresh_idle_until"), doc! { "$lte": date(expires_by) });
        }
        Ok(filter)
    }

    fn ask_for_email(&self, filter: &mut Document, wanted: &GrantFilter) {
        let field = &self.names.fields.email;
        let mut parts = Vec::new();
        if let Some(email) = &wanted.email {
            parts.push(doc! { field: email });
        }
        if let Some(prefix) = &wanted.email_prefix {
            // Nothing that begins with the prefix is greater than the prefix and the last character.
            let beyond = format!("{prefix}{}", char::MAX);
            parts.push(doc! { field: { "$gte": prefix, "$lt": beyond } });
        }
        match parts.len() {
            0 => {}
            1 => filter.extend(parts.remove(0)),
            _ => drop(filter.insert("$and", parts)),
        }
    }

    /// The providers that documents name, each found by one look into the index.
    async fn known_providers(&self) -> Result<Vec<Bson>, StoreError> {
        let path = self.names.path("provider");
        let in_order = doc! { &path: 1, self.names.path("status"): 1, "_id": 1 };
        let mut known: Vec<Bson> = Vec::new();
        loop {
            let last = known.last().cloned().unwrap_or(Bson::from(""));
            let next = self.collection.find_one(doc! { &path: { "$gt": last } });
            let next = next.sort(in_order.clone()).projection(doc! { &path: 1 }).await;
            let next = next.map_err(|error| driver("list", &error))?;
            let Some(provider) = next.as_ref().and_then(|found| at(found, &path)) else {
                return Ok(known);
            };
            known.push(provider.clone());
        }
    }

    /// Everything but the tokens: they don't even travel.
    pub(super) fn view_projection(&self) -> Document {
        let fields = &self.names.fields;
        doc! { &self.names.state: 1, &fields.user_id: 1, &fields.email: 1 }
    }
}
