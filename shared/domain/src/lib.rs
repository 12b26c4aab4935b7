#![doc = include_str!("../README.md")]

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
pub use grant::{
    DocumentFields, FailureKind, Grant, GrantStatus, LastError, Lease, NO_TEXT, PreviousOwner,
};
pub use job::{Job, JobError};
pub use on_demand::{StoredToken, TokenDecision, TokenDemand};
pub use outcome::{ExchangeFailure, NewTokens, Outcome, RefusalScope};
pub use precise_timestamp::PreciseTimestamp;
pub use provider_id::ProviderId;
pub use provider_state::ProviderState;
pub use revival::EndedDocument;
pub use revocation::{RevocationOutcome, classify_revocation};
pub use sealed_answer::SealedAnswer;
pub use sealed_token::{SealedForm, SealedTokens};
pub use secrets::ExchangeSecrets;
pub use settlement::{BudgetSignal, DocumentWrite, JobRoute, Settlement};
pub use timestamp::Timestamp;
pub use transport_failure::TransportFailure;
