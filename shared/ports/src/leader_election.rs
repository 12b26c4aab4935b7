//! Leader election among replicas.

use std::time::Duration;

use async_trait::async_trait;

use crate::StoreError;

/// Decides which of several processes leads in a role.
#[async_trait]
pub trait LeaderElection: Send + Sync + 'static {
    /// Takes or renews the lead in `role` for `owner`, for the duration `lease`. False if another
    /// owner has it.
    async fn lead(&self, role: &str, owner: &str, lease: Duration) -> Result<bool, StoreError>;

    /// Gives up the lead in `role`, if `owner` has it, so that another process need not wait for
    /// its end.
    async fn resign(&self, role: &str, owner: &str) -> Result<(), StoreError>;
}
