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

mod budget;
mod operations;
mod refresh;
mod values;

pub use budget::*;
pub use operations::*;
pub use refresh::*;
pub use values::*;

pub use also_write::{FieldSources, FieldValue, FieldValues};
pub use assess::{ClaimedDocument, EndedGrant, JobDecision, StaleReason, assess};
pub use classify::{ExchangeResult, HttpAnswer, classify};
pub use dead_letter::{DeadLetter, DeadReason};
pub use decide::{RefreshPolicy, decide};
pub use document_id::DocumentId;
pub use expiry::{TokenExpiry, ToldEnds};
pub use grant::{DocumentFields, FailureKind, Grant, GrantStatus, LastError, Lease, PreviousOwner};
pub use job::{Job, JobError};
pub use outcome::{ExchangeFailure, NewTokens, Outcome, RefusalScope};
pub use precise_timestamp::PreciseTimestamp;
pub use provider_id::ProviderId;
pub use provider_state::ProviderState;
pub use revival::EndedDocument;
pub use sealed_answer::SealedAnswer;
pub use sealed_token::{SealedForm, SealedTokens};
pub use secrets::ExchangeSecrets;
pub use settlement::{BudgetSignal, DocumentWrite, JobRoute, Settlement};
pub use timestamp::Timestamp;
