//! The path of a job: intake, claim, exchange, commit, route.

pub(crate) mod claim;
pub(crate) mod committer;
pub(crate) mod intake;
pub(crate) mod job_delivery;
pub(crate) mod lease;
pub(crate) mod refresh;
pub(crate) mod refused;
pub(crate) mod refused_documents;
pub(crate) mod settle;
pub(crate) mod takeover;
