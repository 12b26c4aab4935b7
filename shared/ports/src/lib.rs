//! The two ports: where documents live and how jobs travel. Everything else is pure or at the
//! edges. One conformance suite (`tests/suite/conformance`) holds for every adapter.

mod backoff;
mod error;
mod finding;
mod listing;
mod machine;
pub mod operators;
mod queue;
mod rest;
mod store;
mod unadopted;

pub use backoff::Backoff;
pub use error::{QueueError, StoreError};
pub use finding::{DOCUMENTS_OF, Finding, LEFT_ALONE};
pub use listing::{GrantFilter, GrantOrder, GrantPlace, GrantView};
pub use machine::{new_audit_id, wall_clock};
pub use queue::{Acker, DeadLetters, Delivery, Intake, JobQueue};
pub use rest::Rest;
pub use store::{
    Claimed, Commit, Committed, DueGrant, DueQuery, HeldTokens, ImportDocument, ImportMode,
    Imported, Revived, SweepPlace, TokenStore, Versioned, Which,
};
pub use unadopted::{LeftAlone, Unadopted};
