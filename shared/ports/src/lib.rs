//! The ports: where documents live and how jobs travel, a trait for each role. [`Store`] and
//! [`JobQueue`] are all roles at once, for the wiring. Everything else is pure or at the edges. One
//! conformance suite (`tests/suite/conformance`) holds for every adapter.

mod backoff;
mod due_store;
mod error;
mod finding;
mod grant_admin;
mod job_publisher;
mod leader_election;
mod lease_store;
mod listing;
mod machine;
mod operations_log;
mod provider_states;
mod queue;
mod rest;
mod store;
mod store_clock;
mod transfer_store;
mod unadopted;
mod work_queue;

pub use backoff::Backoff;
pub use due_store::{DueGrant, DueQuery, DueSelection, DueStore, SweepPlace, SweepResult};
pub use error::{QueueError, StoreError};
pub use finding::{DOCUMENTS_OF, InspectionFinding, LEFT_ALONE};
pub use grant_admin::{ChangeResult, GrantAdmin, GrantChange, GrantCount};
pub use job_publisher::JobPublisher;
pub use leader_election::LeaderElection;
pub use lease_store::{ClaimResult, Commit, CommitResult, LeaseStore};
pub use listing::{GrantFilter, GrantOrder, GrantPlace, GrantView};
pub use machine::{new_audit_id, wall_clock};
pub use operations_log::OperationsLog;
pub use provider_states::{ProviderStates, VersionedValue};
pub use queue::{DeadLetters, JobQueue};
pub use rest::SearchCooldown;
pub use store::Store;
pub use store_clock::StoreClock;
pub use transfer_store::{HeldTokens, ImportDocument, ImportMode, ImportResult, TransferStore};
pub use unadopted::{LeftAlone, UnadoptedDocuments};
pub use work_queue::{Delivery, DeliveryAcker, DeliveryStream, WorkQueue};
