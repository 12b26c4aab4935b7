//! Every decision of Evergrant, without I/O and without a clock.
//!
//! A job is taken through these steps; each is a function from values to a value:
//!
//! 1. [`job::Job::decode`]: what the message asks for.
//! 2. [`assess::assess`]: given the document as claimed, is there still something to do?
//! 3. [`classify::classify`]: what the provider's answer means ([`outcome::Outcome`]).
//! 4. [`weigh::AnswerWatch::weigh`]: whether the answer is about this grant or about all of them.
//! 5. [`decide::decide`]: what is written, where the job goes, and what the provider's budget
//!    is told ([`settlement::Settlement`]).

pub mod assess;
pub mod audit;
pub mod audit_chain;
pub mod cell;
mod claim_note;
pub mod classify;
pub mod clock_offset;
pub mod concurrency;
pub mod dead_letter;
pub mod decide;
pub mod document_id;
mod error_body;
pub mod error_code;
pub mod fingerprint;
pub mod forecast;
pub mod gate;
pub mod grant;
pub mod heartbeat;
pub mod import;
pub mod job;
pub mod ladder;
pub mod limit;
pub mod marks;
pub mod moment;
pub mod outcome;
pub mod printable;
pub mod provider_id;
pub mod provider_state;
pub mod punctuality;
pub mod refusals;
pub mod revival;
pub mod schedule;
pub mod sealed_answer;
pub mod secrets;
pub mod settlement;
pub mod shard;
pub mod sign_in;
pub mod statistics;
pub mod timestamp;
pub mod twins;
pub mod vocabulary;
pub mod weigh;

pub use assess::{EndedGrant, Row, StaleReason, Verdict, assess};
pub use claim_note::ClaimNote;
pub use classify::{Answer, Exchange, classify};
pub use dead_letter::{DeadLetter, DeadReason};
pub use decide::{Policy, decide};
pub use document_id::DocumentId;
pub use grant::{FailureKind, Grant, LastError, Lease, Predecessor, Status};
pub use job::{Job, JobError};
pub use moment::Moment;
pub use outcome::{Failure, NewTokens, Outcome, Refusal};
pub use provider_id::ProviderId;
pub use provider_state::ProviderState;
pub use revival::EndedDocument;
pub use sealed_answer::SealedAnswer;
pub use secrets::Secrets;
pub use settlement::{Route, Settlement, Signal, Write};
pub use timestamp::Timestamp;
