//! The store with all its roles, for the wiring.

use async_trait::async_trait;

use crate::{
    DueStore, GrantAdmin, InspectionFinding, KeyStore, LeaderElection, LeaseStore, OperationsLog,
    ProviderStates, StoreError, TokenReader, TransferStore,
};

/// A store in all its roles. An adapter implements it and a program connects to it; an `Arc<dyn
/// Store>` is upcast to the role that each part of the program needs.
#[async_trait]
pub trait Store:
    LeaseStore
    + DueStore
    + LeaderElection
    + ProviderStates
    + GrantAdmin
    + TokenReader
    + TransferStore
    + OperationsLog
    + KeyStore
{
    /// Creates indexes and whatever else the adapter needs; does nothing if they exist. Checks that
    /// the server's clock works in conditional updates, because leases depend on it.
    async fn prepare(&self) -> Result<(), StoreError>;

    /// What exists and what is missing, for `evergrant doctor`.
    async fn inspect(&self) -> Result<Vec<InspectionFinding>, StoreError>;
}
