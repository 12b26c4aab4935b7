//! The whole store, for the wiring.

use async_trait::async_trait;

use crate::{
    DueStore, GrantAdmin, InspectionFinding, LeaderElection, LeaseStore, OperationsLog,
    ProviderStates, StoreError, TransferStore,
};

/// A store in all its roles. It is what an adapter is and what a program connects to; an
/// `Arc<dyn Store>` is upcast to the role that each part of the program needs.
#[async_trait]
pub trait Store:
    LeaseStore + DueStore + LeaderElection + ProviderStates + GrantAdmin + TransferStore + OperationsLog
{
    /// Makes indexes and whatever else the adapter needs; does nothing where they exist. Checks
    /// that the server's clock works in conditional updates, since leases depend on it.
    async fn prepare(&self) -> Result<(), StoreError>;

    /// What there is and what is missing, for `evergrant doctor`.
    async fn inspect(&self) -> Result<Vec<InspectionFinding>, StoreError>;
}
