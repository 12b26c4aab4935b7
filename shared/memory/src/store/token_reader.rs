//! Access tokens by `_id`.

use async_trait::async_trait;

use super::MemoryStore;
use evergrant_document::decode;
use evergrant_domain::{DocumentId, StoredToken};
use evergrant_ports::{StoreError, TokenReader};

#[async_trait]
impl TokenReader for MemoryStore {
    async fn stored_token(&self, id: &DocumentId) -> Result<Option<StoredToken>, StoreError> {
        Ok(self.with(|state, now| {
            let document = state.documents.get(id)?;
            Some(decode::stored_token(&state.documents.names, document, now))
        }))
    }
}
