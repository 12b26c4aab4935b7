//! Whether a job still has something to do.

use std::time::Duration;

use crate::{
    DeadReason, DocumentId, Failure, FailureKind, Grant, Job, LastError, Lease, Predecessor,
    Status, Timestamp,
};

/// How early a job may be: the broker's delays and the store's clock are not the same clock.
const EARLY: Duration = Duration::from_secs(5);

/// What the store says about a document after a claim was tried.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "nearly all rows are the large one")]
pub enum Row {
    /// There is no such document, or it is not adopted.
    Absent,
    /// The document cannot be used.
    Malformed {
        /// What is wrong, without a value of the document.
        what: String,
        /// The [`fingerprint`](crate::fingerprint::fingerprint) of its refresh token, if that can be read.
        fingerprint: Option<String>,
        /// The claim holds its lease. If it does not, the document is settled already or someone
        /// else is at it.
        owned: bool,
    },
    /// The document holds no refresh token.
    NoToken {
        /// The claim holds its lease.
        owned: bool,
    },
    /// The application's field says by now that the document is another provider's.
    OfAnother {
        /// The claim holds its lease.
        owned: bool,
    },
    /// The document was never refreshed, and another document had its token first.
    Twin {
        /// The other document.
        of: DocumentId,
        /// The [`fingerprint`](crate::fingerprint::fingerprint) of the token.
        fingerprint: String,
        /// The claim holds its lease.
        owned: bool,
    },
    /// The document as it is now.
    Present {
        /// The grant.
        grant: Grant,
        /// Its lease, whoever holds it.
        lease: Option<Box<Lease>>,
        /// The claim holds its lease.
        owned: bool,
    },
}

impl Row {
    /// Whether the claim holds the document's lease, and so has to give it back.
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

/// What to do with a job whose document was claimed.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Exchange this grant's token.
    Exchange(Grant),
    /// The worker that held the document before has died: look again once an answer that it had in its
    /// hands is written, or after a while where that cannot be known of it. To send the old token before that
    /// would be to present a token that was rotated away.
    TakenOver(Grant, Predecessor),
    /// Nothing to do: acknowledge, count.
    Stale(StaleReason),
    /// Someone else has the document in hand.
    Held {
        /// After how long the lease is over.
        wait: Duration,
        /// The lease. None if it was given back meanwhile.
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
    /// The document is another provider's by now: nothing is sent, and it is adopted anew.
    OfAnother,
    /// Another document had its token first: nothing is sent.
    Twin {
        /// The other document.
        of: DocumentId,
        /// The fingerprint of the token.
        fingerprint: String,
    },
    /// The document has ended, but its dead letter may never have been written.
    Rebury(EndedGrant),
}

/// Why and when a grant ended, as its document tells.
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
    fn of(grant: &Grant) -> Option<Self> {
        let last_error = grant.last_error.clone()?;
        let reason = match (grant.status, last_error.reason) {
            (Status::NeedsReauth, FailureKind::LostResponse) => DeadReason::LostResponse,
            (Status::NeedsReauth, _) => DeadReason::GrantDead,
            (Status::Failed, FailureKind::Malformed) => DeadReason::MalformedDocument,
            (Status::Failed, FailureKind::Twin) => DeadReason::TwinDocument,
            // Its letter is the answer, which whoever holds it writes. One of the job would send the old
            // token again.
            (Status::Failed, reason) if reason.waits_for_answer() => return None,
            (Status::Failed, _) => DeadReason::AttemptsExhausted,
            (Status::Active | Status::Paused | Status::NoToken, _) => return None,
        };
        let failing_since = grant.failing_since.unwrap_or(last_error.at);
        Some(Self { reason, attempts: grant.attempts, failing_since, last_error })
    }

    fn malformed(what: &str, now: Timestamp) -> Self {
        let failure = Failure::described(what);
        let last_error = LastError::of(&failure, FailureKind::Malformed, now);
        let reason = DeadReason::MalformedDocument;
        Self { reason, attempts: 0, failing_since: now, last_error }
    }
}

impl Job {
    /// The document of this job has ended, and its letter may be missing if the job was with a
    /// worker before.
    fn reburied(&self, redelivered: bool, ended: Option<EndedGrant>) -> Verdict {
        let ended = ended.filter(|_| redelivered || self.waited);
        ended.map_or(Verdict::Stale(StaleReason::NotActive), Verdict::Rebury)
    }
}

/// Why a job has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// The document is gone.
    Gone,
    /// It has been refreshed since the job was made, or belongs to another provider now.
    Moved,
    /// It needs sign-in, has failed or is paused.
    NotActive,
    /// It is not due.
    NotDue,
    /// It holds no refresh token.
    NoToken,
    /// The application has sealed its refresh token.
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

/// Says what to do with a job, given its document after the claim. `now` is the store's clock.
///
/// A `redelivered` job, and one that has come back from a retry queue, may be one whose worker died on
/// the way from the document's end to the dead letter. Its letter is written again: two of them are harmless, none would hide a loss.
pub fn assess(job: &Job, row: Row, redelivered: bool, now: Timestamp) -> Verdict {
    let (grant, lease, owned) = match row {
        Row::Absent => return Verdict::Stale(StaleReason::Gone),
        Row::OfAnother { owned: true } => return Verdict::OfAnother,
        Row::OfAnother { owned: false } => return Verdict::Stale(StaleReason::Moved),
        Row::Twin { of, fingerprint, owned: true } => return Verdict::Twin { of, fingerprint },
        Row::Twin { owned: false, .. } => return Verdict::Stale(StaleReason::NotActive),
        Row::NoToken { owned: true } => return Verdict::NoToken,
        Row::NoToken { owned: false } => return Verdict::Stale(StaleReason::NoToken),
        Row::Malformed { what, fingerprint, owned: true } => {
            return Verdict::Malformed { what, fingerprint };
        }
        Row::Malformed { what, owned: false, .. } => {
            let ended = EndedGrant::malformed(&what, now);
            return job.reburied(redelivered, Some(ended));
        }
        Row::Present { grant, lease, owned } => (grant, lease, owned),
    };
    if grant.provider != job.provider {
        return Verdict::Stale(StaleReason::Moved);
    }
    // Due or not, and whatever job it was: with the lease it would be forgotten that an answer may have been
    // lost.
    if let Some(Lease { taken_over: Some(predecessor), .. }) = lease.as_deref()
        && owned
        && grant.status == Status::Active
    {
        return Verdict::TakenOver(grant, predecessor.clone());
    }
    if grant.generation != job.generation {
        return Verdict::Stale(StaleReason::Moved);
    }
    if grant.status != Status::Active {
        return job.reburied(redelivered, EndedGrant::of(&grant));
    }
    if !job.force && grant.next_refresh_at > now.plus(EARLY) {
        return Verdict::Stale(StaleReason::NotDue);
    }
    if owned {
        return Verdict::Exchange(grant);
    }
    // Given back between the claim and the read: the next look will find it free.
    let wait = lease.as_ref().map_or(Duration::ZERO, |lease| lease.until.since(now));
    Verdict::Held { wait, lease }
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

    fn owned(grant: Grant) -> Row {
        let lease = Lease { owner: "me".into(), until: NOW.plus(EARLY), taken_over: None };
        let lease = Some(Box::new(lease));
        Row::Present { grant, lease, owned: true }
    }

    fn stale(job: &Job, row: Row) -> Option<StaleReason> {
        match assess(job, row, false, NOW) {
            Verdict::Stale(reason) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_due_grant_under_our_lease_is_exchanged() {
        assert!(matches!(assess(&job(), owned(grant()), false, NOW), Verdict::Exchange(_)));
    }

    #[test]
    fn a_lease_of_a_dead_worker_is_not_used_at_once() {
        let taken_over = Some(Predecessor::Claim("dead/p/1".into()));
        let lease = Lease { owner: "me".into(), until: NOW.plus(EARLY), taken_over };
        let row = Row::Present { grant: grant(), lease: Some(Box::new(lease)), owned: true };
        assert!(matches!(assess(&job(), row, true, NOW), Verdict::TakenOver(..)));
    }

    #[test]
    fn a_lease_of_a_dead_worker_is_taken_over_though_its_grant_is_not_due_or_the_job_is_an_old_one()
    {
        let not_due = Grant { next_refresh_at: NOW.plus(2 * EARLY), ..grant() };
        let of_a_later_job = Grant { generation: 5, ..grant() };
        for grant in [not_due, of_a_later_job] {
            let taken_over = Some(Predecessor::Claim("dead/p/1".into()));
            let lease = Lease { owner: "me".into(), until: NOW.plus(EARLY), taken_over };
            let row = Row::Present { grant, lease: Some(Box::new(lease)), owned: true };
            assert!(matches!(assess(&job(), row, false, NOW), Verdict::TakenOver(..)));
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
        for status in Status::ALL.into_iter().filter(|status| *status != Status::Active) {
            let row = owned(Grant { status, ..grant() });
            assert_eq!(stale(&Job { force: true, ..job() }, row), Some(StaleReason::NotActive));
        }
    }

    #[test]
    fn a_grant_that_is_not_due_waits_unless_the_job_insists() {
        let later = Grant { next_refresh_at: NOW.plus(2 * EARLY), ..grant() };
        assert_eq!(stale(&job(), owned(later.clone())), Some(StaleReason::NotDue));
        let insists = Job { force: true, ..job() };
        assert!(matches!(assess(&insists, owned(later), false, NOW), Verdict::Exchange(_)));
    }

    #[test]
    fn a_job_that_is_a_little_early_is_not_turned_away() {
        let soon = Grant { next_refresh_at: NOW.plus(EARLY), ..grant() };
        assert!(matches!(assess(&job(), owned(soon), false, NOW), Verdict::Exchange(_)));
    }

    #[test]
    fn a_lease_of_someone_else_is_waited_for() {
        let until = NOW.plus(Duration::from_secs(9));
        let lease = Lease { owner: "other/p/1".into(), until, taken_over: None };
        let lease = Some(Box::new(lease));
        let row = Row::Present { grant: grant(), lease, owned: false };
        let Verdict::Held { wait, lease: Some(lease) } = assess(&job(), row, false, NOW) else {
            panic!("does not wait")
        };
        assert_eq!((wait, lease.process()), (Duration::from_secs(9), "other"));
    }

    #[test]
    fn a_dead_letter_that_may_be_missing_is_written_again() {
        let last_error = LastError {
            reason: FailureKind::GrantDead,
            http_status: Some(400),
            code: Some("invalid_grant".into()),
            description: None,
            at: NOW,
        };
        let dead = Grant {
            status: Status::NeedsReauth,
            attempts: 1,
            last_error: Some(last_error.clone()),
            ..grant()
        };
        let row = || Row::Present { grant: dead.clone(), lease: None, owned: false };
        let Verdict::Rebury(ended) = assess(&job(), row(), true, NOW) else {
            panic!("not reburied")
        };
        assert_eq!((ended.reason, ended.attempts), (DeadReason::GrantDead, 1));
        assert_eq!(ended.last_error, last_error);
        assert_eq!(stale(&job(), row()), Some(StaleReason::NotActive));
        let waited = Job { waited: true, ..job() };
        assert!(matches!(assess(&waited, row(), false, NOW), Verdict::Rebury(_)));
    }

    #[test]
    fn no_letter_is_written_for_a_document_whose_answer_waits_in_one() {
        let last_error =
            LastError::of(&Failure::described("another key"), FailureKind::UncommittedAnswer, NOW);
        let withheld = Grant { status: Status::Failed, last_error: Some(last_error), ..grant() };
        let row = Row::Present { grant: withheld, lease: None, owned: false };
        let job = Job { waited: true, ..job() };
        let verdict = assess(&job, row, true, NOW);
        assert!(matches!(verdict, Verdict::Stale(StaleReason::NotActive)));
    }

    #[test]
    fn a_document_that_is_gone_or_unusable_is_told() {
        assert_eq!(stale(&job(), Row::Absent), Some(StaleReason::Gone));
        let unusable = |owned| Row::Malformed {
            what: "refresh_token is a number".into(),
            fingerprint: None,
            owned,
        };
        assert!(matches!(assess(&job(), unusable(true), false, NOW), Verdict::Malformed { .. }));
        let settled = unusable(false);
        assert_eq!(stale(&job(), settled.clone()), Some(StaleReason::NotActive));
        let Verdict::Rebury(ended) = assess(&job(), settled, true, NOW) else {
            panic!("its dead letter may be missing")
        };
        assert_eq!(ended.reason, DeadReason::MalformedDocument);
        assert_eq!(ended.last_error.description.as_deref(), Some("refresh_token is a number"));
    }

    #[test]
    fn a_document_of_another_provider_by_now_is_not_exchanged() {
        let verdict = assess(&job(), Row::OfAnother { owned: true }, true, NOW);
        assert!(matches!(verdict, Verdict::OfAnother));
        let unowned = Row::OfAnother { owned: false };
        assert_eq!(stale(&job(), unowned), Some(StaleReason::Moved));
    }

    #[test]
    fn a_twin_is_not_exchanged() {
        let of = DocumentId::Integer(2);
        let twin = Row::Twin { of, fingerprint: "f".into(), owned: true };
        assert!(matches!(assess(&job(), twin, false, NOW), Verdict::Twin { .. }));
        let unowned =
            Row::Twin { of: DocumentId::Integer(2), fingerprint: "f".into(), owned: false };
        assert_eq!(stale(&job(), unowned), Some(StaleReason::NotActive));
    }

    #[test]
    fn a_document_without_a_token_has_not_failed() {
        assert!(matches!(
            assess(&job(), Row::NoToken { owned: true }, true, NOW),
            Verdict::NoToken
        ));
        let unowned = Row::NoToken { owned: false };
        let waited = Job { waited: true, ..job() };
        assert_eq!(stale(&waited, unowned), Some(StaleReason::NoToken));
    }
}
