//! Where documents are, and how a path leads into one.

use std::collections::BTreeMap;
use std::ops::Bound;

use bson::{Bson, Document};

use super::refused;
use evergrant_document::FieldNames;
use evergrant_document::adoption::{AdoptionRules, DocumentOwner};
use evergrant_document::field_paths::FieldPaths;
use evergrant_document::paths::at;
pub(super) use evergrant_document::paths::{put, remove as take_away};
use evergrant_document::{ids, transition};
use evergrant_domain::{DocumentId, Timestamp};
use evergrant_ports::{Commit, CommitResult, StoreError, UnadoptedDocuments};

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
            let adoption = transition::adopt(&self.names, document);
            adopted +=
                u64::from(adoption.is_some_and(|adoption| adoption.carry_out(document, now)));
        }
        adopted
    }

    /// Writes a commit, or says why it cannot be.
    pub(super) fn commit(&mut self, commit: &Commit) -> Result<CommitResult, StoreError> {
        let Some(document) = self.by_id.get_mut(&ids::canonical(&commit.id)) else {
            return Ok(CommitResult::Superseded);
        };
        let effect = transition::commit(&self.names, document, commit);
        let effect = effect.map_err(|_| refused("commit", "a path leads through no sub-document"));
        effect.map(|effect| effect.result)
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
