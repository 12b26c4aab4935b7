//! What becomes of a grant: from a job to its settlement.

pub mod also_write;
pub mod answer_form;
pub mod answer_path;
pub mod assess;
mod claim_note;
pub mod classify;
pub mod decide;
pub mod dialect;
mod error_body;
pub mod error_code;
pub mod expiry;
pub mod grant;
pub mod import;
pub mod job;
pub mod ladder;
pub mod marks;
pub mod on_demand;
pub mod outcome;
pub mod precise_timestamp;
pub mod refusals;
pub mod revival;
pub mod revocation;
pub mod scalar;
pub mod schedule;
pub mod sealed_answer;
pub mod sealed_token;
pub mod settlement;
pub mod sign_in;
pub mod transport_failure;
pub mod twins;
pub mod vocabulary;
pub mod weigh;

pub use claim_note::ClaimNote;
