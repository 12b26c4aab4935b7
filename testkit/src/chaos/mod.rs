//! Chaos tests on real servers: planned faults while grants are being refreshed, judged by the
//! ledger.
//!
//! * `plan`: which faults, and after how many refreshes each; drawn from a seed, which is printed.
//!   `EVERGRANT_TEST_SEED` reproduces a plan.
//! * `scene`: the servers, and the connections to them, which can be cut.
//! * `fleet`: producers and workers, which are killed and replaced.
//! * `drive`: carries out the plan. Faults come after numbers of refreshes, never at times.
//! * `verdict`: the fate of every grant, and its cause.

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
