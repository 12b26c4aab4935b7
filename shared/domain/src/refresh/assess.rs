//! Assesses a claimed document: is there still something to do for the job?

use std::time::Duration;

use crate::{
    DeadReason, DocumentId, ExchangeFailure, FailureKind, Grant, GrantStatus, Job, LastError,
    Lease, PreviousOwner, Timestamp,
};

/// How early a job may come: the broker's delays and the store's clock differ.
const EARLY_MAX: Duration = Duration::from_secs(5);

/// The state of a document after an attempt to claim it.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "nearly all rows are the large one")]
pub enum ClaimedDocument {
    /// There is no such document, or it is not adopted.
    Absent,
    /// The document cannot be used.
    Malformed {
        /// What is wrong, without any value of the document.
        what: String,
        /// The [`fingerprint`](crate::fingerprint::fingerprint) of its refresh token, if that can be read.
        fingerprint: Option<String>,
        /// Whether the claim holds its lease. If not, the document is already settled, or another
        /// worker has it.
        owned: bool,
    },
    /// The document holds no refresh token.
    NoToken {
        /// Whether the claim holds its lease.
        owned: bool,
    },
    /// The application has since assigned the document to another provider.
    OfAnother {
        /// Whether the claim holds its lease.
        owned: bool,
    },
    /// The document was never refreshed, and another document had its token first.
    Twin {
        /// The other document.
        of: DocumentId,
        /// The [`fingerprint`](crate::fingerprint::fingerprint) of the token.
        fingerprint: String,
        /// Whether the claim holds its lease.
        owned: bool,
    },
    /// The document can be refreshed.
    Present {
        /// The grant.
        grant: Grant,
        /// Its lease, whoever holds it.
        lease: Option<Box<Lease>>,
        /// Whether the claim holds its lease.
        owned: bool,
    },
}

impl ClaimedDocument {
    /// Whether the claim holds the document's lease, and so has to release it.
    pub const fn owned(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::Malformed { owned, .. }
            | Self::NoToken { owned }
            | Self::OfAnother { owned }
            | Self::Twin { owned, .. }
            | Self::Present { owned, .. } => *owned,
        }
    }
}

/// What to do for a job whose document was claimed.
#[derive(Debug, Clone)]
pub enum JobDecision {
    /// Exchange this grant's token.
    Exchange(Grant),
    /// The worker that held the document has died, and may have received an answer. Wait until that
    /// answer is written, or for a while if that cannot be known; then claim again. Sending the old
    /// token earlier could present a token that was already rotated.
    TakenOver(Grant, PreviousOwner),
    /// Nothing to do: acknowledge, count.
    Stale(StaleReason),
    /// Another claim holds the lease.
    LeasedElsewhere {
        /// When the lease ends, from now.
        wait: Duration,
        /// The lease. None if it was released meanwhile.
        lease: Option<Box<Lease>>,
    },
    /// The document cannot be used.
    Malformed {
        /// Why.
        what: String,
        /// The fingerprint of its refresh token, if that can be read.
        fingerprint: Option<String>,
    },
    /// The document holds no refresh token: nothing is sent, and nothing has failed.
    NoToken,
    /// The document now belongs to another provider: nothing is sent, and it is adopted again.
    OfAnother,
    /// Another document had its token first: nothing is sent.
    Twin {
        /// The other document.
        of: DocumentId,
        /// The fingerprint of the token.
        fingerprint: String,
    },
    /// The document has ended, but its dead letter may be missing.
    RepublishDeadLetter(EndedGrant),
}

/// Why and when a grant ended, according to its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedGrant {
    /// Why.
    pub reason: DeadReason,
    /// Failed attempts.
    pub attempts: u32,
    /// When it first failed.
    pub failing_since: Timestamp,
    /// The error that ended it.
    pub last_error: LastError,
}

impl EndedGrant {
    fn from_grant(grant: &Grant) -> Option<Self> {
        let last_error = grant.last_error.clone()?;
        let reason = match (grant.status, last_error.reason) {
            (GrantStatus::NeedsReauth, FailureKind::LostResponse) => DeadReason::LostResponse,
            (GrantStatus::NeedsReauth, _) => DeadReason::GrantDead,
            (GrantStatus::Failed, FailureKind::Malformed) => DeadReason::MalformedDocument,
            (GrantStatus::Failed, FailureKind::Twin) => DeadReason::TwinDocument,
            // Its letter is the answer, and the holder of the answer writes it. A letter of the job
            // could send the old token again.
            (GrantStatus::Failed, reason) if reason.waits_for_answer() => return None,
            (GrantStatus::Failed, _) => DeadReason::AttemptsExhausted,
            (GrantStatus::Active | GrantStatus::Paused | GrantStatus::NoToken, _) => return None,
        };
        let failing_since = grant.failing_since.unwrap_or(last_error.at);
        Some(Self { reason, attempts: grant.attempts, failing_since, last_error })
    }

    fn malformed(what: &str, now: Timestamp) -> Self {
        let failure = ExchangeFailure::described(what);
        let last_error = LastError::from_failure(&failure, FailureKind::Malformed, now);
        let reason = DeadReason::MalformedDocument;
        Self { reason, attempts: 0, failing_since: now, last_error }
    }
}

impl Job {
    /// The document has ended. If the job was with a worker before, its letter may be missing.
    fn reburied(&self, redelivered: bool, ended: Option<EndedGrant>) -> JobDecision {
        let ended = ended.filter(|_| redelivered || self.waited);
        ended.map_or(JobDecision::Stale(StaleReason::NotActive), JobDecision::RepublishDeadLetter)
    }
}

/// Why there is nothing to do for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// The document does not exist.
    Gone,
    /// It was refreshed after the job was made, or belongs to another provider now.
    Moved,
    /// It needs sign-in, has failed or is paused.
    NotActive,
    /// It is not due.
    NotDue,
    /// It holds no refresh token.
    NoToken,
    /// The application has encrypted its refresh token.
    SealedToken,
}

impl StaleReason {
    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Moved => "moved",
            Self::NotActive => "not_active",
            Self::NotDue => "not_due",
            Self::NoToken => "no_token",
            Self::SealedToken => "sealed_token",
        }
    }
}

/// Decides what to do for a job, given its document after the claim. `now` is the store's clock.
///
/// The worker of a `redelivered` job, or of one from a retry queue, may have died between ending
/// the document and publishing the dead letter. So the letter is published again: a second letter
/// is harmless, a missing one would hide a loss.
///
/// ```
/// use evergrant_domain::{ClaimedDocument, DocumentId, Job, JobDecision, StaleReason, Timestamp, assess};
///
/// let now = Timestamp::from_unix_ms(1_700_000_000_000);
/// let job = Job::new("autodesk".parse()?, DocumentId::Integer(1), 0, now);
/// // The document was deleted after the job was made.
/// let decision = assess(&job, ClaimedDocument::Absent, false, now);
/// assert!(matches!(decision, JobDecision::Stale(StaleReason::Gone)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn assess(job: &Job, row: ClaimedDocument, redelivered: bool, now: Timestamp) -> JobDecision {
    let (grant, lease, owned) = match row {
        ClaimedDocument::Absent => return JobDecision::Stale(StaleReason::Gone),
        ClaimedDocument::OfAnother { owned: true } => return JobDecision::OfAnother,
        ClaimedDocument::OfAnother { owned: false } => {
            return JobDecision::Stale(StaleReason::Moved);
        }
        ClaimedDocument::Twin { of, fingerprint, owned: true } => {
            return JobDecision::Twin { of, fingerprint };
        }
        ClaimedDocument::Twin { owned: false, .. } => {
            return JobDecision::Stale(StaleReason::NotActive);
        }
        ClaimedDocument::NoToken { owned: true } => return JobDecision::NoToken,
        ClaimedDocument::NoToken { owned: false } => {
            return JobDecision::Stale(StaleReason::NoToken);
        }
        ClaimedDocument::Malformed { what, fingerprint, owned: true } => {
            return JobDecision::Malformed { what, fingerprint };
        }
        ClaimedDocument::Malformed { what, owned: false, .. } => {
            let ended = EndedGrant::malformed(&what, now);
            return job.reburied(redelivered, Some(ended));
        }
        ClaimedDocument::Present { grant, lease, owned } => (grant, lease, owned),
    };
    if grant.provider != job.provider {
        return JobDecision::Stale(StaleReason::Moved);
    }
    // For any job, due or not: releasing the lease would lose the information that an answer may be
    // lost.
    if let Some(Lease { taken_over: Some(predecessor), .. }) = lease.as_deref()
        && owned
        && grant.status == GrantStatus::Active
    {
        return JobDecision::TakenOver(grant, predecessor.clone());
    }
    if grant.generation != job.generation {
        return JobDecision::Stale(StaleReason::Moved);
    }
    if grant.status != GrantStatus::Active {
        return job.reburied(redelivered, EndedGrant::from_grant(&grant));
    }
    if !job.force && grant.next_refresh_at > now.plus(EARLY_MAX) {
        return JobDecision::Stale(StaleReason::NotDue);
    }
    if owned {
        return JobDecision::Exchange(grant);
    }
    // Released between the claim and the read: the next claim will succeed.
    let wait = lease.as_ref().map_or(Duration::ZERO, |lease| lease.until.since(now));
    JobDecision::LeasedElsewhere { wait, lease }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    fn job() -> Job {
        Job::new("p".parse().unwrap(), DocumentId::Integer(1), 4, NOW)
    }

    fn grant() -> Grant {
        Grant::example(NOW)
    }

    fn owned(grant: Grant) -> ClaimedDocument {
        let lease = Lease { owner: "me".into(), until: NOW.plus(EARLY_MAX), taken_over: None };
        let lease = Some(Box::new(lease));
        ClaimedDocument::Present { grant, lease, owned: true }
    }

    fn stale(job: &Job, row: ClaimedDocument) -> Option<StaleReason> {
        match assess(job, row, false, NOW) {
            JobDecision::Stale(reason) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_due_grant_under_our_lease_is_exchanged() {
        assert!(matches!(assess(&job(), owned(grant()), false, NOW), JobDecision::Exchange(_)));
    }

    #[test]
    fn a_dead_workers_lease_needs_a_takeover() {
        let taken_over = Some(PreviousOwner::Claim("dead/p/1".into()));
        let lease = Lease { owner: "me".into(), until: NOW.plus(EARLY_MAX), taken_over };
        let row =
            ClaimedDocument::Present { grant: grant(), lease: Some(Box::new(lease)), owned: true };
        assert!(matches!(assess(&job(), row, true, NOW), JobDecision::TakenOver(..)));
    }

    #[test]
    fn a_dead_workers_lease_is_taken_over_for_any_job() {
        let not_due = Grant { next_refresh_at: NOW.plus(2 * EARLY_MAX), ..grant() };
        let of_a_later_job = Grant { generation: 5, ..grant() };
        for grant in [not_due, of_a_later_job] {
            let taken_over = Some(PreviousOwner::Claim("dead/p/1".into()));
            let lease = Lease { owner: "me".into(), until: NOW.plus(EARLY_MAX), taken_over };
            let row = ClaimedDocument::Present { grant, lease: Some(Box::new(lease)), owned: true };
            assert!(matches!(assess(&job(), row, false, NOW), JobDecision::TakenOver(..)));
        }
    }

    #[test]
    fn a_duplicate_of_a_finished_job_has_nothing_to_do() {
        let refreshed = Grant { generation: 5, ..grant() };
        assert_eq!(stale(&job(), owned(refreshed)), Some(StaleReason::Moved));
    }

    #[test]
    fn a_job_of_another_provider_has_nothing_to_do() {
        let moved = Grant { provider: "q".parse().unwrap(), ..grant() };
        assert_eq!(stale(&job(), owned(moved)), Some(StaleReason::Moved));
    }

    #[test]
    fn only_an_active_grant_is_exchanged() {
        for status in GrantStatus::ALL.into_iter().filter(|status| *status != GrantStatus::Active) {
            let row = owned(Grant { status, ..grant() });
            assert_eq!(stale(&Job { force: true, ..job() }, row), Some(StaleReason::NotActive));
        }
    }

    #[test]
    fn a_grant_that_is_not_due_waits_unless_forced() {
        let later = Grant { next_refresh_at: NOW.plus(2 * EARLY_MAX), ..grant() };
        assert_eq!(stale(&job(), owned(later.clone())), Some(StaleReason::NotDue));
        let insists = Job { force: true, ..job() };
        assert!(matches!(assess(&insists, owned(later), false, NOW), JobDecision::Exchange(_)));
    }

    #[test]
    fn a_slightly_early_job_is_accepted() {
        let soon = Grant { next_refresh_at: NOW.plus(EARLY_MAX), ..grant() };
        assert!(matches!(assess(&job(), owned(soon), false, NOW), JobDecision::Exchange(_)));
    }

    #[test]
    fn a_lease_of_someone_else_is_waited_for() {
        let until = NOW.plus(Duration::from_secs(9));
        let lease = Lease { owner: "other/p/1".into(), until, taken_over: None };
        let lease = Some(Box::new(lease));
        let row = ClaimedDocument::Present { grant: grant(), lease, owned: false };
        let JobDecision::LeasedElsewhere { wait, lease: Some(lease) } =
            assess(&job(), row, false, NOW)
        else {
            panic!("does not wait")
        };
        assert_eq!((wait, lease.process()), (Duration::from_secs(9), "other"));
    }

    #[test]
    fn a_possibly_missing_dead_letter_is_published_again() {
        let last_error = LastError {
            reason: FailureKind::GrantDead,
            http_status: Some(400),
            code: Some("invalid_grant".into()),
            description: None,
            at: NOW,
        };
        let dead = Grant {
            status: GrantStatus::NeedsReauth,
            attempts: 1,
            last_error: Some(last_error.clone()),
            ..grant()
        };
        let row = || ClaimedDocument::Present { grant: dead.clone(), lease: None, owned: false };
        let JobDecision::RepublishDeadLetter(ended) = assess(&job(), row(), true, NOW) else {
            panic!("not reburied")
        };
        assert_eq!((ended.reason, ended.attempts), (DeadReason::GrantDead, 1));
        assert_eq!(ended.last_error, last_error);
        assert_eq!(stale(&job(), row()), Some(StaleReason::NotActive));
        let waited = Job { waited: true, ..job() };
        assert!(matches!(assess(&waited, row(), false, NOW), JobDecision::RepublishDeadLetter(_)));
    }

    #[test]
    fn a_document_whose_answer_is_a_letter_gets_no_other() {
        let last_error = LastError::from_failure(
            &ExchangeFailure::described("another key"),
            FailureKind::UncommittedAnswer,
            NOW,
        );
        let withheld =
            Grant { status: GrantStatus::Failed, last_error: Some(last_error), ..grant() };
        let row = ClaimedDocument::Present { grant: withheld, lease: None, owned: false };
        let job = Job { waited: true, ..job() };
        let verdict = assess(&job, row, true, NOW);
        assert!(matches!(verdict, JobDecision::Stale(StaleReason::NotActive)));
    }

    #[test]
    fn a_missing_or_malformed_document_is_reported() {
        assert_eq!(stale(&job(), ClaimedDocument::Absent), Some(StaleReason::Gone));
        let unusable = |owned| ClaimedDocument::Malformed {
            what: "refresh_token is a number".into(),
            fingerprint: None,
            owned,
        };
        assert!(matches!(
            assess(&job(), unusable(true), false, NOW),
            JobDecision::Malformed { .. }
        ));
        let settled = unusable(false);
        assert_eq!(stale(&job(), settled.clone()), Some(StaleReason::NotActive));
        let JobDecision::RepublishDeadLetter(ended) = assess(&job(), settled, true, NOW) else {
            panic!("its dead letter may be missing")
        };
        assert_eq!(ended.reason, DeadReason::MalformedDocument);
        assert_eq!(ended.last_error.description.as_deref(), Some("refresh_token is a number"));
    }

    #[test]
    fn a_document_of_another_provider_is_not_exchanged() {
        let verdict = assess(&job(), ClaimedDocument::OfAnother { owned: true }, true, NOW);
        assert!(matches!(verdict, JobDecision::OfAnother));
        let unowned = ClaimedDocument::OfAnother { owned: false };
        assert_eq!(stale(&job(), unowned), Some(StaleReason::Moved));
    }

    #[test]
    fn a_twin_is_not_exchanged() {
        let of = DocumentId::Integer(2);
        let twin = ClaimedDocument::Twin { of, fingerprint: "f".into(), owned: true };
        assert!(matches!(assess(&job(), twin, false, NOW), JobDecision::Twin { .. }));
        let unowned = ClaimedDocument::Twin {
            of: DocumentId::Integer(2),
            fingerprint: "f".into(),
            owned: false,
        };
        assert_eq!(stale(&job(), unowned), Some(StaleReason::NotActive));
    }

    #[test]
    fn a_document_without_a_token_has_not_failed() {
        assert!(matches!(
            assess(&job(), ClaimedDocument::NoToken { owned: true }, true, NOW),
            JobDecision::NoToken
        ));
        let unowned = ClaimedDocument::NoToken { owned: false };
        let waited = Job { waited: true, ..job() };
        assert_eq!(stale(&waited, unowned), Some(StaleReason::NoToken));
    }
}
