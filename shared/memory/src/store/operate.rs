//! What operators see of grants, and documents in and out.

use bson::{Bson, Document};

use super::documents::{Documents, put, take_away};
use super::refused;
use evergrant_document::import::id_and_fields;
use evergrant_document::import::{held_tokens, kept, marks_after, prepared};
use evergrant_document::state::HELD_BEFORE;
use evergrant_document::{decode, extended_json, ids};
use evergrant_domain::{ClaimedDocument, DocumentId};
use evergrant_ports::{
    GrantFilter, GrantOrder, GrantPlace, GrantView, HeldTokens, ImportDocument, ImportMode,
    ImportResult, InspectionFinding, StoreError,
};

impl Documents {
    pub(super) fn view(&self, id: &DocumentId) -> Option<GrantView> {
        self.get(id).map(|document| decode::view(&self.names, document))
    }

    pub(super) fn look(&self, id: &DocumentId) -> ClaimedDocument {
        let row = |document| decode::row(&self.names, document, "");
        self.get(id).map_or(ClaimedDocument::Absent, row)
    }

    pub(super) fn edit(
        &mut self,
        id: &DocumentId,
        path: &str,
        value: Option<serde_json::Value>,
    ) -> Result<bool, StoreError> {
        let value = value.map(Bson::try_from).transpose();
        let value = value.map_err(|_| refused("edit", "the value is not extended JSON"))?;
        let Some(document) = self.get_mut(id) else { return Ok(false) };
        match value {
            Some(value) => put(document, path, value),
            None => take_away(document, path),
        }
        Ok(true)
    }

    pub(super) fn list(&self, filter: &GrantFilter) -> Vec<GrantView> {
        let limit = filter.limit.and_then(|limit| usize::try_from(limit).ok());
        let wanted = self.all().filter_map(|document| self.matching(document, filter));
        let mut wanted: Vec<_> = wanted.collect();
        // Those of one place stay in the order of their ids.
        match filter.order() {
            GrantOrder::Id => {}
            GrantOrder::Due => wanted.sort_by_key(|view| view.next_refresh_at),
            GrantOrder::Expiry => wanted.sort_by_key(|view| view.refresh_idle_until),
            GrantOrder::Email => wanted.sort_by(|a, b| a.email.cmp(&b.email)),
        }
        wanted.truncate(limit.unwrap_or(usize::MAX));
        wanted
    }

    fn matching(&self, document: &Document, filter: &GrantFilter) -> Option<GrantView> {
        let view = decode::view(&self.names, document);
        let status = filter.status_wanted();
        let is_wanted = filter.provider.is_none() || view.provider == filter.provider;
        let is_wanted = is_wanted && (status.is_none() || view.status == status);
        let is_wanted = is_wanted && (filter.email.is_none() || view.email == filter.email);
        let is_wanted = is_wanted
            && filter.user.as_ref().is_none_or(|user| self.is_users(document, user))
            && filter.matches_view(&view)
            && filter.after.as_ref().is_none_or(|place| comes_after(&view, place, filter.order()));
        is_wanted.then_some(view)
    }

    /// Imports all of `documents`, or none if one of them cannot be a document.
    pub(super) fn import(
        &mut self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<ImportResult>, StoreError> {
        let documents = documents.into_iter().enumerate().map(|(index, document)| {
            id_and_fields(document).map_err(|what| {
                let reason = format!("document {} of those to import: {what}", index + 1);
                refused("import", reason)
            })
        });
        let documents = documents.collect::<Result<Vec<_>, _>>()?;
        Ok(documents.into_iter().map(|(id, fields)| self.import_one(id, fields, mode)).collect())
    }

    fn import_one(&mut self, id: Bson, fields: Document, mode: ImportMode) -> ImportResult {
        let key = ids::from_bson(&id);
        let found = self.get(&key);
        let twins = if mode == ImportMode::Copy { Vec::new() } else { key.twins() };
        if found.is_none()
            && let Some(twin) = twins.into_iter().find(|id| self.get(id).is_some())
        {
            return ImportResult::Twin(twin);
        }
        if let Some(kept) = found.and_then(|found| kept(&self.names, found, &fields, mode)) {
            return kept;
        }
        let fields = prepared(&self.names, found, fields, mode);
        let marks = found.and_then(|found| marks_after(&self.names, found, &fields));
        let (document, is_new) = self.get_or_make(id);
        document.extend(fields);
        if let Some(marks) = marks {
            put(document, &format!("evergrant.{HELD_BEFORE}"), marks);
        }
        if is_new { ImportResult::Inserted } else { ImportResult::Updated }
    }

    pub(super) fn export(&self) -> Vec<serde_json::Value> {
        self.all().cloned().map(extended_json::of_document).collect()
    }

    pub(super) fn held_tokens(&self) -> Vec<HeldTokens> {
        self.all().map(|document| held_tokens(&self.names, document)).collect()
    }

    pub(super) fn findings(&self) -> Vec<InspectionFinding> {
        let detail =
            format!("{} documents in memory; they end with the process", self.all().count());
        vec![InspectionFinding { what: "token documents".to_owned(), ok: true, detail }]
    }
}

fn comes_after(view: &GrantView, place: &GrantPlace, order: GrantOrder) -> bool {
    let id = ids::canonical(&place.id);
    match order {
        GrantOrder::Id => view.id > id,
        GrantOrder::Due => (view.next_refresh_at, &view.id) > (place.due, &id),
        GrantOrder::Expiry => (view.refresh_idle_until, &view.id) > (place.expires, &id),
        GrantOrder::Email => (&view.email, &view.id) > (&place.email, &id),
    }
}
