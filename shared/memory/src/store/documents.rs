//! Where documents are, and how a path leads into one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use bson::{Bson, Document};

use evergrant_document::FieldNames;
use evergrant_document::adoption::{AdoptionRules, DocumentOwner};
use evergrant_document::decode::adopted_as;
use evergrant_document::document_update::date;
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::ids;
use evergrant_document::numbers::number;
use evergrant_document::paths::at;
pub(super) use evergrant_document::paths::{put, remove as take_away};
use evergrant_domain::{DocumentId, Timestamp};
use evergrant_ports::UnadoptedDocuments;

/// Documents in the order of their `_id`.
pub(super) struct Documents {
    pub(super) names: FieldPaths,
    by_id: BTreeMap<DocumentId, Document>,
    /// The document that a token was exchanged for first; see [`evergrant_domain::twins`].
    pub(super) first_tokens: BTreeMap<String, DocumentId>,
}

impl Documents {
    pub(super) fn new(rules: AdoptionRules) -> Self {
        let names = FieldPaths::new("evergrant", FieldNames::default()).with_rules(rules);
        Self { names, by_id: BTreeMap::new(), first_tokens: BTreeMap::new() }
    }

    pub(super) fn get(&self, id: &DocumentId) -> Option<&Document> {
        self.by_id.get(&ids::canonical(id))
    }

    pub(super) fn get_mut(&mut self, id: &DocumentId) -> Option<&mut Document> {
        self.by_id.get_mut(&ids::canonical(id))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Document> {
        self.by_id.values()
    }

    /// Those after an id, or all.
    pub(super) fn after(
        &self,
        id: Option<&DocumentId>,
    ) -> impl Iterator<Item = (&DocumentId, &Document)> {
        let after = id.map_or(Bound::Unbounded, |id| Bound::Excluded(ids::canonical(id)));
        self.by_id.range((after, Bound::Unbounded))
    }

    /// The document with this `_id`, made if there is none; and whether it was made.
    pub(super) fn get_or_make(&mut self, id: Bson) -> (&mut Document, bool) {
        let key = ids::from_bson(&id);
        let is_new = !self.by_id.contains_key(&key);
        let document =
            self.by_id.entry(key).or_insert_with(|| Document::from_iter([("_id".to_owned(), id)]));
        (document, is_new)
    }

    /// Gives the state to documents that have none and are a provider's of ours.
    pub(super) fn adopt(&mut self, now: Timestamp) -> u64 {
        let mut adopted = 0;
        for document in self.by_id.values_mut() {
            let Some(DocumentOwner::Section(provider)) = owner(&self.names, document) else {
                continue;
            };
            let status = adopted_as(&self.names, document);
            put(document, "evergrant.provider", provider.as_str());
            put(document, "evergrant.status", status.as_str());
            put(document, "evergrant.generation", 0_i64);
            put(document, "evergrant.attempts", 0);
            put(document, "evergrant.next_refresh_at", date(now));
            adopted += 1;
        }
        adopted
    }

    /// Counts the documents that are left alone.
    pub(super) fn unadopted(&self) -> Vec<UnadoptedDocuments> {
        let left = self.all().filter_map(|document| match owner(&self.names, document)? {
            DocumentOwner::Nobody(why) => Some(UnadoptedDocuments { why, documents: 1 }),
            DocumentOwner::Section(_) => None,
        });
        UnadoptedDocuments::together(left)
    }
}

/// Whose an unadopted document is. None for one that is adopted, or no business of ours.
fn owner(names: &FieldPaths, document: &Document) -> Option<DocumentOwner> {
    let is_adopted = at(document, "evergrant.status").is_some();
    (!is_adopted).then(|| names.owner(document)).flatten()
}

/// Whether the text at a path is this one.
pub(super) fn is_text(document: &Document, path: &str, text: &str) -> bool {
    at(document, path).and_then(Bson::as_str) == Some(text)
}

/// Whether the time at a path is not in the future, or there is none.
pub(super) fn is_over(document: &Document, path: &str, now: Timestamp) -> bool {
    let until_ms = match at(document, path) {
        Some(Bson::DateTime(time)) => Some(time.timestamp_millis()),
        Some(other) => number(other),
        None => None,
    };
    until_ms.is_none_or(|until_ms| until_ms <= now.unix_ms())
}

/// A time, `later`, as it is stored.
pub(super) fn from_now(now: Timestamp, later: Duration) -> Bson {
    date(now.plus(later)).into()
}
