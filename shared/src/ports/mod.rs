//! The two ports: where documents live and how jobs travel. Everything else is pure or at the
//! edges. One conformance suite (`tests/suite/conformance`) holds for every adapter.

mod error;
mod finding;
mod listing;
mod queue;
mod store;

pub use crate::adoption::{LeftAlone, Unadopted};
pub use error::{QueueError, StoreError};
pub use finding::{DOCUMENTS_OF, Finding, LEFT_ALONE};
pub use listing::{GrantFilter, GrantOrder, GrantPlace, GrantView};
pub use queue::{Acker, DeadLetters, Delivery, Intake, JobQueue};
pub use store::{
    Claimed, Commit, Committed, DueGrant, DueQuery, HeldTokens, ImportDocument, ImportMode,
    Imported, Revived, SweepPlace, TokenStore, Versioned, Which,
};
