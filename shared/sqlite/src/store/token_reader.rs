//! Access tokens by `_id`.

use async_trait::async_trait;

use super::lease::now;
use super::{SqliteStore, table};
use evergrant_document::decode;
use evergrant_domain::{DocumentId, StoredToken};
use evergrant_ports::{StoreError, TokenReader};

#[async_trait]
impl TokenReader for SqliteStore {
    async fn stored_token(&self, id: &DocumentId) -> Result<Option<StoredToken>, StoreError> {
        let id = id.clone();
        self.read("stored_token", move |connection, inner| {
            let Some(stored) = table::find(connection, &inner.names, &id)? else { return Ok(None) };
            let now = now(connection)?;
            Ok(Some(decode::stored_token(&inner.names, &stored.document, now)))
        })
        .await
    }
}
