//! Documents that hold one grant twice: the first exchange of one spends the token of the other.

use std::collections::HashMap;

use evergrant_domain::DocumentId;
use evergrant_ports::{InspectionFinding, StoreError, TransferStore};
use futures::TryStreamExt;

/// Pairs that are named.
const NAMED: usize = 5;

/// Whose refresh tokens are known, by their marks.
#[derive(Debug, Default)]
pub(crate) struct KnownTokens {
    ids: Vec<DocumentId>,
    /// The place in `ids` of the document that holds or held the token.
    by_mark: HashMap<i64, u32>,
}

impl KnownTokens {
    /// All tokens that documents of a store hold, and the last that they held before.
    pub(crate) async fn from_store(store: &dyn TransferStore) -> Result<Self, StoreError> {
        let mut known = Self::default();
        let mut documents = store.held_tokens();
        while let Some(document) = documents.try_next().await? {
            for mark in document.held.into_iter().chain(document.before) {
                known.add(mark, &document.id);
            }
        }
        Ok(known)
    }

    /// Notes that a document holds a token, unless another one does, which is returned.
    pub(crate) fn add(&mut self, mark: i64, id: &DocumentId) -> Option<&DocumentId> {
        if let Some(place) = self.by_mark.get(&mark) {
            let other = self.ids.get(*place as usize)?;
            return (other != id).then_some(other);
        }
        if self.ids.last() != Some(id) {
            self.ids.push(id.clone());
        }
        let place = u32::try_from(self.ids.len() - 1).ok()?;
        self.by_mark.insert(mark, place);
        None
    }
}

/// Documents whose refresh token is, or was, another document's.
pub(crate) async fn find(store: &dyn TransferStore) -> Result<InspectionFinding, StoreError> {
    let (mut held, mut pairs) = (KnownTokens::default(), Pairs::default());
    let mut documents = store.held_tokens();
    while let Some(document) = documents.try_next().await? {
        if let Some(other) = document.held.and_then(|mark| held.add(mark, &document.id)) {
            pairs.add(&document.id, other);
        }
    }
    // A second time: what one holds may be what another one, before it or after it, has spent.
    let mut documents = store.held_tokens();
    while let Some(document) = documents.try_next().await? {
        for mark in &document.before {
            let holder = held.by_mark.get(mark).and_then(|place| held.ids.get(*place as usize));
            if let Some(holder) = holder.filter(|holder| **holder != document.id) {
                pairs.add(holder, &document.id);
            }
        }
    }
    Ok(pairs.finding())
}

#[derive(Default)]
struct Pairs {
    count: u64,
    named: Vec<String>,
}

impl Pairs {
    fn add(&mut self, one: &DocumentId, other: &DocumentId) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{one} ({}) and {other} ({})", kind(one), kind(other)));
        }
    }

    fn finding(self) -> InspectionFinding {
        let (what, ok) = ("refresh tokens".to_owned(), self.count == 0);
        if ok {
            return InspectionFinding { what, ok, detail: "each is in one document".to_owned() };
        }
        let more = if self.count > NAMED as u64 { ", …" } else { "" };
        let detail = format!(
            "{} documents hold a refresh token that another one holds or has exchanged: {}{more}. One \
             exchange ends the other's grant: delete one of each two, or let its user sign in again",
            self.count,
            self.named.join(", ")
        );
        InspectionFinding { what, ok, detail }
    }
}

/// The type of an id in a word: a string and an ObjectId look alike.
pub(crate) fn kind(id: &DocumentId) -> &'static str {
    match id {
        DocumentId::ObjectId(_) => "ObjectId",
        DocumentId::String(_) => "string",
        DocumentId::Integer(_) => "number",
        DocumentId::Uuid(_) => "UUID",
        DocumentId::Other(_) => "of another type",
    }
}

#[cfg(test)]
mod tests {
    use evergrant_domain::Timestamp;
    use evergrant_memory::{MemoryClock, MemoryStore};
    use evergrant_ports::{ImportDocument, ImportMode};
    use serde_json::{Value, json};

    use super::*;

    async fn store_of(documents: &[Value]) -> MemoryStore {
        let clock = MemoryClock::starting_at(Timestamp::from_unix_ms(0));
        let store = MemoryStore::new(clock, "p".parse().ok());
        let documents = documents.iter().map(|it| ImportDocument(it.as_object().unwrap().clone()));
        store.import_as(documents.collect(), ImportMode::Copy).await.unwrap();
        store
    }

    #[tokio::test]
    async fn two_documents_of_one_token_are_named() {
        let store = store_of(&[
            json!({ "_id": "a", "refresh_token": "one" }),
            json!({ "_id": "b", "refresh_token": "one" }),
            json!({ "_id": "c", "refresh_token": "other" }),
            json!({ "_id": "d", "refresh_token": null }),
            json!({ "_id": "e", "refresh_token": null }),
        ])
        .await;
        let finding = find(&store).await.unwrap();
        assert!(!finding.ok && finding.detail.contains("b (string) and a"), "{finding:?}");
        assert!(finding.detail.starts_with("1 documents"), "{finding:?}");
    }

    #[tokio::test]
    async fn a_token_that_another_document_has_exchanged_is_found() {
        let spent = evergrant_domain::marks::mark(Some(&"spent".into()));
        let copy = |id: &str| json!({ "_id": id, "refresh_token": "spent" });
        let refreshed = |id: &str| {
            let state = json!({ "status": "active", "held_before": [0, spent] });
            json!({ "_id": id, "refresh_token": "live", "evergrant": state })
        };
        for documents in [[copy("a"), refreshed("b")], [refreshed("a"), copy("b")]] {
            let finding = find(&store_of(&documents).await).await.unwrap();
            assert!(!finding.ok, "{finding:?}");
        }
        let finding = find(&store_of(&[refreshed("a")]).await).await.unwrap();
        assert!(finding.ok, "{finding:?}");
    }
}
