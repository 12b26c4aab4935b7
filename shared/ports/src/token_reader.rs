//! Access tokens, for those who may have them.

use async_trait::async_trait;

use crate::{StoreClock, StoreError};
use evergrant_domain::{DocumentId, StoredToken};

/// Grants with their access tokens. A read changes nothing.
#[async_trait]
pub trait TokenReader: StoreClock {
    /// One grant as the store's primary has it. None if there is no such document.
    async fn stored_token(&self, id: &DocumentId) -> Result<Option<StoredToken>, StoreError>;
}
