//! Dead letters: jobs that are not retried automatically, with the reasons.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{DocumentId, GrantStatus, Job, LastError, ProviderId, Timestamp};

/// Why a job became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// The provider reports that the grant is dead: the user must sign in again.
    GrantDead,
    /// The provider reports that the token is dead, after an answer to it was lost.
    LostResponse,
    /// Every attempt failed.
    AttemptsExhausted,
    /// The document cannot be used.
    MalformedDocument,
    /// Another document had its refresh token first.
    TwinDocument,
    /// The store refuses every write to the document.
    RefusedDocument,
    /// The message is not a job.
    MalformedJob,
    /// New tokens that could not be written: they could not be decrypted, or the store refuses the
    /// document.
    UncommittedAnswer,
    /// The broker gave up on the message after too many deliveries: workers died over it.
    DeliveryLimit,
    /// The broker moved the message here for another reason.
    Broker,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::GrantDead,
        Self::LostResponse,
        Self::AttemptsExhausted,
        Self::MalformedDocument,
        Self::TwinDocument,
        Self::RefusedDocument,
        Self::MalformedJob,
        Self::UncommittedAnswer,
        Self::DeliveryLimit,
        Self::Broker,
    ];

    /// The name in headers, on the command line and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrantDead => "grant_dead",
            Self::LostResponse => "lost_response",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::MalformedDocument => "malformed_document",
            Self::TwinDocument => "twin_document",
            Self::RefusedDocument => "refused_document",
            Self::MalformedJob => "malformed_job",
            Self::UncommittedAnswer => "uncommitted_answer",
            Self::DeliveryLimit => "delivery_limit",
            Self::Broker => "broker",
        }
    }

    /// Whether it is about a grant that ended, and so is obsolete once that grant lives again.
    /// Unwritten tokens and the broker's reasons are independent of the grant.
    pub const fn ends_grant(self) -> bool {
        matches!(
            self,
            Self::GrantDead
                | Self::LostResponse
                | Self::AttemptsExhausted
                | Self::MalformedDocument
                | Self::TwinDocument
        )
    }

    /// What an operator can do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::GrantDead => "the user must sign in again",
            Self::LostResponse => "the user must sign in again; an answer was lost on the way",
            Self::AttemptsExhausted => "see the error, cure it at the provider, then redrive",
            Self::MalformedDocument => "correct the document: it is taken up again, or redrive it",
            Self::TwinDocument => "two documents have one token: delete the other, then redrive",
            Self::RefusedDocument => {
                "see why the store refuses it (validation rules, its size), cure that, then redrive"
            }
            Self::MalformedJob => "discard: the producer makes a new job of its own accord",
            Self::UncommittedAnswer => {
                "it holds new tokens: add the key to rescue.old_keys or cure the document, then redrive"
            }
            Self::DeliveryLimit => "look for crashing workers, then redrive",
            Self::Broker => "look at the broker's policies, then redrive",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeadReason {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == name)
            .ok_or_else(|| format!("a reason is one of {}", names()))
    }
}

/// A job that is not retried automatically, and why. It holds no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The original message. Its content is unknown, so it is never shown.
    pub body: Vec<u8>,
    /// The provider whose dead letters it belongs to.
    pub provider: ProviderId,
    /// The document, if the message names one.
    pub id: Option<DocumentId>,
    /// Why it is dead.
    pub reason: DeadReason,
    /// The HTTP status of the last answer.
    pub http_status: Option<u16>,
    /// The provider's error code.
    pub code: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// Failed attempts.
    pub attempts: u32,
    /// When it first failed.
    pub first_failed_at: Timestamp,
    /// When it last failed.
    pub last_failed_at: Timestamp,
    /// How many times it was redriven before.
    pub redrive_count: u32,
    /// The worker that gave up.
    pub worker: Option<String>,
}

impl DeadLetter {
    /// Whether its grant, which now has this status, lives again: its death was revoked, its user
    /// has signed in, or it was redriven. Nothing remains to be done then.
    pub const fn is_answered(&self, status: Option<GrantStatus>) -> bool {
        self.reason.ends_grant() && matches!(status, Some(GrantStatus::Active))
    }

    /// The dead letter of a job whose document ended.
    pub fn of_job(
        job: &Job,
        reason: DeadReason,
        attempts: u32,
        first_failed_at: Timestamp,
        last_error: &LastError,
        worker: &str,
    ) -> Self {
        Self {
            body: job.encode(),
            provider: job.provider.clone(),
            id: Some(job.id.clone()),
            reason,
            http_status: last_error.http_status,
            code: last_error.code.clone(),
            description: last_error.description.clone(),
            attempts,
            first_failed_at,
            last_failed_at: last_error.at,
            redrive_count: job.redrive_count,
            worker: Some(worker.to_owned()),
        }
    }

    /// The dead letter of a message that is not a job.
    pub fn of_message(
        body: Vec<u8>,
        provider: ProviderId,
        error: &crate::JobError,
        now: Timestamp,
        worker: &str,
    ) -> Self {
        let reason = DeadReason::MalformedJob;
        Self::of_body(body, provider, None, reason, error.to_string(), now, worker)
    }

    /// The dead letter of a job whose document the store refuses to write.
    pub fn of_refused(job: &Job, why: String, now: Timestamp, worker: &str) -> Self {
        let (provider, id) = (job.provider.clone(), Some(job.id.clone()));
        let reason = DeadReason::RefusedDocument;
        let letter = Self::of_body(job.encode(), provider, id, reason, why, now, worker);
        Self { redrive_count: job.redrive_count, ..letter }
    }

    /// The dead letter of a sealed answer that cannot be written. The body is the answer as it was
    /// sealed.
    pub fn of_answer(
        body: Vec<u8>,
        provider: ProviderId,
        id: Option<DocumentId>,
        why: String,
        now: Timestamp,
        worker: &str,
    ) -> Self {
        Self::of_body(body, provider, id, DeadReason::UncommittedAnswer, why, now, worker)
    }

    fn of_body(
        body: Vec<u8>,
        provider: ProviderId,
        id: Option<DocumentId>,
        reason: DeadReason,
        description: String,
        now: Timestamp,
        worker: &str,
    ) -> Self {
        Self {
            body,
            provider,
            id,
            reason,
            http_status: None,
            code: None,
            description: Some(description),
            attempts: 0,
            first_failed_at: now,
            last_failed_at: now,
            redrive_count: 0,
            worker: Some(worker.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one_name_everywhere() {
        for reason in DeadReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert!("nonsense".parse::<DeadReason>().unwrap_err().contains("grant_dead"));
    }
}
