//! Chaos on real servers: faults by a plan while grants are being refreshed, and the ledger judges.
//!
//! * `plan`: which faults, and after how many refreshes each; drawn from a seed, which is printed.
//!   `EVERGRANT_TEST_SEED` draws the same plan again.
//! * `scene`: the servers, which can be harmed, and the ways to them, which can be cut.
//! * `fleet`: producers and workers, which are killed and replaced.
//! * `drive`: carries the plan out. A fault comes after so many refreshes, never after so much time.
//! * `verdict`: what became of every grant, and whose fault it was.

mod drive;
mod fleet;
mod plan;
mod scene;
mod verdict;

pub use drive::{RunDriver, RunReport};
pub use fleet::{ProgramFleet, WorkerKill};
pub use plan::{ChaosFault, FaultCounts, FaultPlan, OutageKind, OutageTarget, ServerOutage};
pub use scene::{ChaosScene, LEASE, ProviderPace};
pub use verdict::{GrantVerdicts, KillExcuse, LostGrant};
