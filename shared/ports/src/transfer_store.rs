//! Import and export of whole documents.

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::StoreError;
use evergrant_domain::DocumentId;

/// Token documents as they are imported and exported, whole and with their tokens.
#[async_trait]
pub trait TransferStore: Send + Sync + 'static {
    /// Inserts documents, or writes the given fields over those of the document with the same
    /// `_id`, unless they are older ([`evergrant_domain::import`]): an older document is skipped.
    /// Evergrant's state of an existing document is kept, unless the imported one has its own. One
    /// result for each document, in order; each `_id` is in `documents` once.
    ///
    /// # Errors
    /// If not all are known to be written. A retry is safe.
    async fn import_as(
        &self,
        documents: Vec<ImportDocument>,
        mode: ImportMode,
    ) -> Result<Vec<ImportResult>, StoreError>;

    /// Imports documents and skips older ones.
    async fn import(
        &self,
        documents: Vec<ImportDocument>,
    ) -> Result<Vec<ImportResult>, StoreError> {
        self.import_as(documents, ImportMode::KeepNewer).await
    }

    /// All documents as extended JSON, tokens included, in the order of their `_id`.
    fn export(&self) -> BoxStream<'_, Result<serde_json::Value, StoreError>>;

    /// Which refresh tokens each document holds and held, in the order of their `_id`, as marks
    /// ([`evergrant_domain::marks::mark`]): to find two documents of one grant.
    fn held_tokens(&self) -> BoxStream<'_, Result<HeldTokens, StoreError>>;
}

/// A document to import: extended JSON with an `_id`.
#[derive(Clone)]
pub struct ImportDocument(pub serde_json::Map<String, serde_json::Value>);

impl std::fmt::Debug for ImportDocument {
    /// Prints nothing of the document, which holds tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImportDocument")
    }
}

/// Which refresh tokens a document holds and held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTokens {
    /// The document.
    pub id: DocumentId,
    /// The mark of its refresh token, if it has one.
    pub held: Option<i64>,
    /// The marks of its last earlier tokens.
    pub before: Vec<i64>,
}

/// What an import may do to existing documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMode {
    /// Documents older than those in the store are skipped, and so are twins.
    KeepNewer,
    /// Older documents are written all the same. Twins are skipped.
    Overwrite,
    /// Everything is written as it is: a copy of another store.
    Copy,
}

/// The result for an imported document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportResult {
    /// It is new.
    Inserted,
    /// Its fields were written over those of the document with its `_id`.
    Updated,
    /// It was skipped, because Evergrant has refreshed the document in the store since.
    Kept,
    /// It was skipped, because it is unknown whether it is older than the document in the store.
    KeptUnknown,
    /// It was skipped, because there is a document whose `_id` looks the same: one is an ObjectId,
    /// the other its hexadecimal digits.
    Twin(DocumentId),
}
