//! Access tokens by `_id`: one read of one document.

use async_trait::async_trait;

use super::MongoStore;
use super::uncancelled::{SHORT_TIMEOUT, uncancelled};
use evergrant_document::decode;
use evergrant_domain::{DocumentId, StoredToken};
use evergrant_ports::{StoreError, TokenReader};

#[async_trait]
impl TokenReader for MongoStore {
    async fn stored_token(&self, id: &DocumentId) -> Result<Option<StoredToken>, StoreError> {
        const OPERATION: &str = "stored_token";
        let (this, id) = (self.clone(), id.clone());
        uncancelled(OPERATION, SHORT_TIMEOUT, async move {
            let mut projection = this.view_projection();
            projection.insert(&this.names.fields.access_token, 1);
            let document = this.read_one(OPERATION, &id, projection).await?;
            // The latest that it may be: a token is rather taken to be too old than handed out expired.
            let (now, error) = this.estimated_now(OPERATION).await?;
            let now = now.plus(error);
            Ok(document.map(|document| decode::stored_token(&this.names, &document, now)))
        })
        .await
    }
}
