//! Decides what follows from an outcome: write, route and signal.

use std::time::Duration;

use super::ladder::Ladder;
use super::outcome::{ExchangeFailure, NewTokens};
use super::schedule::{KnownEnds, RefreshSchedule};
use super::sealed_token::SEALED_REMEDY;
use super::settlement::TripReason;
use crate::fingerprint::fingerprint;
use crate::{
    BudgetSignal, DeadReason, DocumentId, DocumentWrite, FailureKind, Grant, GrantStatus, JobRoute,
    LastError, Outcome, SealedTokens, Settlement, Timestamp,
};

/// The policy for a provider's grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshPolicy {
    /// Lifetimes and due times.
    pub schedule: RefreshSchedule,
    /// The delays between attempts.
    pub ladder: Ladder,
    /// Failed attempts after which a job becomes a dead letter. Throttled attempts do not count.
    pub max_attempts: u32,
    /// The longest `Retry-After` that is believed.
    pub max_pause: Duration,
    /// What to do with a token that the application has encrypted.
    pub sealed_tokens: SealedTokens,
}

/// The pause after a throttle without a time.
const DEFAULT_PAUSE_DELAY: Duration = Duration::from_secs(5);

/// The longest pause of all grants after a throttle of one. Each further throttled grant without a
/// success in between makes it four times as long. One user's throttle does not delay others for an
/// hour, and a throttle of the client affects several requests at once.
const FIRST_PAUSE_DELAY: Duration = Duration::from_millis(250);

/// How long a grant waits that was requested too early, if the answer does not say.
const EARLY_DELAY: Duration = Duration::from_secs(60);

/// How long a grant waits that opened the circuit or kept it open, so that the next probes are for
/// other grants.
const CIRCUIT_DELAY: Duration = Duration::from_secs(30);

/// How long a grant waits whose tenant's client is refused, or is not known. All grants of the tenant wait as long,
/// and requests of others come in between.
const TENANT_DELAY: Duration = Duration::from_secs(600);

/// The first wait of a grant with an encrypted token before its document is read again.
const SEALED_DELAY_MIN: Duration = Duration::from_secs(15 * 60);
/// Its longest wait.
pub const SEALED_DELAY_MAX: Duration = Duration::from_secs(6 * 3_600);
/// The assumed lifetime of a held token if that is unlimited or longer.
const SEALED_HOLD_MAX: Duration = Duration::from_secs(60 * 86_400);

/// How long a dead worker's answer may take to be rescued after its lease ends. With the store
/// available, journals and the rescue queue are emptied in a fraction of that.
pub const RESCUE_DELAY: Duration = Duration::from_secs(2);

/// How long after its delay a retry may arrive before the producer publishes another job.
pub(super) const RETRY_TIMEOUT: Duration = Duration::from_secs(300);

/// Decides what follows from `outcome` for `grant`. `now` is the store's clock.
///
/// ```
/// # #[cfg(feature = "examples")] {
/// use std::time::Duration;
///
/// use evergrant_domain::ladder::Ladder;
/// use evergrant_domain::schedule::RefreshSchedule;
/// use evergrant_domain::{
///     ExchangeFailure, Grant, JobRoute, Outcome, RefreshPolicy, SealedTokens, Timestamp, decide,
/// };
///
/// let now = Timestamp::from_unix_ms(1_700_000_000_000);
/// let policy = RefreshPolicy {
///     schedule: RefreshSchedule::example(),
///     ladder: Ladder::new(vec![Duration::from_secs(1), Duration::from_secs(60)]).unwrap(),
///     max_attempts: 5,
///     max_pause: Duration::from_secs(3_600),
///     sealed_tokens: SealedTokens::Hold,
/// };
/// let failed = Outcome::Transient(ExchangeFailure::described("HTTP 503"));
/// let settlement = decide(&policy, &Grant::example(now), &failed, now);
/// assert!(matches!(settlement.route, JobRoute::Retry(_)));
/// # }
/// ```
pub fn decide(
    policy: &RefreshPolicy,
    grant: &Grant,
    outcome: &Outcome,
    now: Timestamp,
) -> Settlement {
    let case = Case { policy, grant, now };
    match outcome {
        Outcome::Refreshed(tokens) => case.refreshed(tokens),
        Outcome::Throttled(failure, grants) => case.throttled(failure, *grants),
        Outcome::TooEarly(failure) => {
            let wait = asked_to_wait(failure).unwrap_or(EARLY_DELAY).min(policy.max_pause);
            case.asked_later(failure, FailureKind::TooEarly, wait)
        }
        Outcome::Transient(failure) => case.failed(failure, FailureKind::Transient),
        Outcome::Refused(failure, _) => case.failed(failure, FailureKind::Refused),
        Outcome::Ambiguous(failure) => case.failed(failure, FailureKind::Ambiguous),
        Outcome::Unreadable(failure, _) => case.unreadable(failure),
        Outcome::Blank(failure) => {
            case.tripped(failure, FailureKind::Ambiguous, TripReason::Unreadable)
        }
        Outcome::Unconfirmed(failure, wait) => {
            case.asked_later(failure, FailureKind::Unconfirmed, *wait)
        }
        Outcome::GrantDead(failure) => case.grant_dead(failure),
        Outcome::Suspicious(failure) => {
            case.tripped(failure, FailureKind::Suspicious, TripReason::Suspicious)
        }
        Outcome::Misconfigured(failure) => {
            case.tripped(failure, FailureKind::Misconfigured, TripReason::Misconfigured)
        }
        Outcome::TenantRefused(failure) => {
            case.asked_later(failure, FailureKind::Misconfigured, TENANT_DELAY)
        }
    }
}

/// The settlement of a document that cannot be read as a grant. `fingerprint` is that of its
/// refresh token, if that can be read.
pub fn decide_malformed(what: &str, fingerprint: Option<String>, now: Timestamp) -> Settlement {
    ended_unsent(FailureKind::Malformed, what, fingerprint, now)
}

/// The settlement of a document for which no request can be made: a field is missing, or leads to a
/// host to which tokens may not be sent. Nothing was sent. A redrive or another token causes a new
/// attempt.
pub fn decide_unsendable(what: &str, fingerprint: String, now: Timestamp) -> Settlement {
    ended_unsent(FailureKind::Unsendable, what, Some(fingerprint), now)
}

/// The settlement of a grant whose client is none of the settings'. Nothing was sent, and no attempt counts:
/// the settings of a new tenant may come later than its first documents.
pub fn decide_unknown_client(
    policy: &RefreshPolicy,
    grant: &Grant,
    what: &str,
    now: Timestamp,
) -> Settlement {
    let failure = ExchangeFailure::described(what);
    Case { policy, grant, now }.asked_later(&failure, FailureKind::Unsendable, TENANT_DELAY)
}

/// Ends a document that cannot be used. Nothing was sent.
fn ended_unsent(
    kind: FailureKind,
    what: &str,
    fingerprint: Option<String>,
    now: Timestamp,
) -> Settlement {
    let error = LastError::from_failure(&ExchangeFailure::described(what), kind, now);
    ended(DeadReason::MalformedDocument, 0, now, error, fingerprint, BudgetSignal::Neutral)
}

/// The settlement of a document whose token another document had first. Nothing was sent.
pub fn decide_twin(of: &DocumentId, fingerprint: String, now: Timestamp) -> Settlement {
    let what = format!(
        "its refresh token is that of the document {of} as well, and only one of the two can be \
         exchanged: delete the other one and redrive, or let its user sign in again"
    );
    ended(
        DeadReason::TwinDocument,
        0,
        now,
        LastError::from_failure(&ExchangeFailure::described(&what), FailureKind::Twin, now),
        Some(fingerprint),
        BudgetSignal::Neutral,
    )
}

/// The settlement of a document that belongs to another provider now. Nothing was sent.
pub const fn decide_of_another() -> Settlement {
    Settlement {
        write: DocumentWrite::Unadopt,
        route: JobRoute::Done,
        signal: BudgetSignal::Neutral,
    }
}

/// The settlement of a document without a refresh token. Nothing was sent, and nothing has failed.
pub const fn decide_no_token() -> Settlement {
    Settlement {
        write: DocumentWrite::NoToken,
        route: JobRoute::Done,
        signal: BudgetSignal::Neutral,
    }
}

/// The settlement of a new grant that is not due yet according to its document: nothing is sent.
/// See [`super::sign_in`].
pub fn decide_signed_in(
    policy: &RefreshPolicy,
    grant: &Grant,
    now: Timestamp,
) -> Option<Settlement> {
    let times = policy.schedule.after_sign_in(&grant.id, grant.signed_in_until?, now)?;
    let write = DocumentWrite::Schedule(times);
    Some(Settlement { write, route: JobRoute::Done, signal: BudgetSignal::Neutral })
}

/// The settlement of a grant whose token the application has encrypted: it is not sent, because the
/// provider would call it dead, and the grant waits.
///
/// Near its end it is sent all the same: an encrypted token is lost either way, and one that was
/// misjudged would be lost by waiting.
pub fn decide_sealed(policy: &RefreshPolicy, grant: &Grant, now: Timestamp) -> Option<Settlement> {
    let form = grant.sealed.filter(|_| policy.sealed_tokens == SealedTokens::Hold)?;
    let held_for = grant.failing_since.map_or(Duration::ZERO, |since| now.since(since));
    let lifetime = policy.schedule.refresh_idle_lifetime.unwrap_or(SEALED_HOLD_MAX);
    let ends_soon = grant.ends.idle.is_some_and(|end| end.since(now) <= lifetime / 10);
    if ends_soon || held_for >= lifetime.min(SEALED_HOLD_MAX) * 8 / 10 {
        return None;
    }
    let what = format!(
        "its refresh token is sealed ({}), so it was not sent. {SEALED_REMEDY}. If the provider issues such \
         tokens: sealed_tokens = \"send\" in its section",
        form.as_str()
    );
    let case = Case { policy, grant, now };
    Some(case.asked_later(
        &ExchangeFailure::described(&what),
        FailureKind::SealedToken,
        (held_for / 4).clamp(SEALED_DELAY_MIN, SEALED_DELAY_MAX),
    ))
}

/// The settlement of a claim that is released unused: nothing was sent, and no attempt counts.
pub fn decide_given_back(policy: &RefreshPolicy, grant: &Grant, now: Timestamp) -> Settlement {
    let case = Case { policy, grant, now };
    case.postponed(None, policy.ladder.at_most(Duration::ZERO), BudgetSignal::Neutral)
}

/// The settlement of a takeover, after the dead worker's lease was kept for [`RESCUE_DELAY`].
/// Nothing was sent; the document records that an answer may be lost and can be claimed again. A
/// grant that is not due waits for its time, without a job.
pub fn decide_taken_over(policy: &RefreshPolicy, grant: &Grant, now: Timestamp) -> DocumentWrite {
    let grant = Grant { in_doubt: true, ..grant.clone() };
    let case = Case { policy, grant: &grant, now };
    let mut write = case.postponed(None, Duration::ZERO, BudgetSignal::Neutral).write;
    if let DocumentWrite::Postpone { queued_until, .. } = &mut write
        && grant.next_refresh_at > now
    {
        *queued_until = now;
    }
    write
}

/// The settlement of a grant whose new tokens may exist where they cannot be read: nothing is sent,
/// and an operator is told `why`.
pub fn decide_withheld(grant: &Grant, why: &str, now: Timestamp) -> Settlement {
    ended(
        DeadReason::UncommittedAnswer,
        grant.attempts,
        grant.failing_since.unwrap_or(now),
        LastError::from_failure(
            &ExchangeFailure::described(why),
            FailureKind::UncommittedAnswer,
            now,
        ),
        Some(fingerprint(&grant.refresh_token)),
        BudgetSignal::Neutral,
    )
}

/// Changes the settlement of a success whose tokens were not found for the case that its body is
/// not kept: the new token is lost, so the user must sign in again.
#[must_use]
pub fn without_body(mut settlement: Settlement) -> Settlement {
    if let DocumentWrite::End { status, last_error, .. } = &mut settlement.write {
        *status = GrantStatus::NeedsReauth;
        last_error.reason = FailureKind::LostResponse;
        let what = last_error.description.take().unwrap_or_default();
        last_error.description =
            Some(format!("{what}; it is not kept, because no rescue.key is set"));
        settlement.route = JobRoute::DeadLetter(DeadReason::LostResponse);
    }
    settlement
}

/// The route of a job whose commit was superseded. New tokens that are superseded are not needed.
/// For any other write, only the lease may be lost, perhaps to an unknown claim, so the job comes
/// again and checks.
pub fn route_superseded(policy: &RefreshPolicy, write: &DocumentWrite) -> JobRoute {
    match write {
        DocumentWrite::Refresh { .. } => JobRoute::Done,
        DocumentWrite::Schedule(_)
        | DocumentWrite::Postpone { .. }
        | DocumentWrite::End { .. }
        | DocumentWrite::NoToken
        | DocumentWrite::Unadopt => JobRoute::Retry(policy.ladder.at_most(Duration::ZERO)),
    }
}

/// The write of new tokens that came at `answered_at`. `known` are the ends of the previous tokens.
pub fn refresh_with(
    policy: &RefreshPolicy,
    id: &DocumentId,
    tokens: &NewTokens,
    known: KnownEnds,
    answered_at: Timestamp,
) -> DocumentWrite {
    let times = policy.schedule.after_refresh(id, answered_at, tokens.ends, known);
    DocumentWrite::Refresh {
        access_token: tokens.access_token.clone(),
        refresh_token: tokens.refresh_token.clone(),
        refreshed_at: answered_at,
        times,
        also: tokens.also.clone(),
    }
}

struct Case<'a> {
    policy: &'a RefreshPolicy,
    grant: &'a Grant,
    now: Timestamp,
}

impl Case<'_> {
    fn refreshed(&self, tokens: &NewTokens) -> Settlement {
        let write = refresh_with(self.policy, &self.grant.id, tokens, self.grant.ends, self.now);
        Settlement { write, route: JobRoute::Done, signal: BudgetSignal::Healthy }
    }

    /// Counts no attempt: a throttle is about the request rate, not the grant. The grant waits as
    /// long as requested; all grants wait according to how many were throttled in a row.
    fn throttled(&self, failure: &ExchangeFailure, grants: u32) -> Settlement {
        let asked =
            asked_to_wait(failure).unwrap_or(DEFAULT_PAUSE_DELAY).min(self.policy.max_pause);
        let error = LastError::from_failure(failure, FailureKind::Throttled, self.now);
        let pause = grants
            .checked_sub(1)
            .map(|more| asked.min(FIRST_PAUSE_DELAY.saturating_mul(4_u32.saturating_pow(more))));
        // If all grants wait as long, the job returns earlier and waits in the work queue.
        let delay = match pause {
            Some(pause) if pause == asked => self.policy.ladder.at_most(asked),
            _ => self.policy.ladder.at_least(asked),
        };
        self.postponed(Some(error), delay, pause.map_or(BudgetSignal::Neutral, BudgetSignal::Pause))
    }

    /// The grant comes again after `wait`, by its schedule. No attempt counts.
    fn asked_later(
        &self,
        failure: &ExchangeFailure,
        kind: FailureKind,
        wait: Duration,
    ) -> Settlement {
        let write = DocumentWrite::Postpone {
            attempts: self.grant.attempts,
            in_doubt: self.grant.in_doubt,
            questioned: self.grant.questioned || kind == FailureKind::Unconfirmed,
            failing_since: Some(self.grant.failing_since.unwrap_or(self.now)),
            last_error: Some(LastError::from_failure(failure, kind, self.now)),
            next_refresh_at: Some(self.now.plus(wait)),
            queued_until: self.now,
        };
        Settlement { write, route: JobRoute::Done, signal: BudgetSignal::Neutral }
    }

    /// The new token is in an answer that cannot be read yet. The old one must not be sent again,
    /// and neither must those of others.
    fn unreadable(&self, failure: &ExchangeFailure) -> Settlement {
        ended(
            DeadReason::UncommittedAnswer,
            self.grant.attempts,
            self.grant.failing_since.unwrap_or(self.now),
            LastError::from_failure(failure, FailureKind::Unreadable, self.now),
            Some(fingerprint(&self.grant.refresh_token)),
            BudgetSignal::Trip(TripReason::Unreadable),
        )
    }

    /// Counts no attempt: the grant is not the cause.
    fn tripped(
        &self,
        failure: &ExchangeFailure,
        kind: FailureKind,
        reason: TripReason,
    ) -> Settlement {
        let mut settlement = self.asked_later(failure, kind, CIRCUIT_DELAY);
        settlement.signal = BudgetSignal::Trip(reason);
        // An HTML page without a code: the request may have reached the provider all the same. A
        // death with a success status is unambiguous.
        let is_page = failure.http_status.is_some_and(|s| s < 300) && failure.code.is_none();
        let may_be_spent = is_page && kind != FailureKind::Suspicious;
        if let DocumentWrite::Postpone { in_doubt, .. } = &mut settlement.write {
            *in_doubt |= may_be_spent;
        }
        settlement
    }

    /// The first refusal in a row counts no attempt, because the refusal may be about the client.
    fn failed(&self, failure: &ExchangeFailure, kind: FailureKind) -> Settlement {
        let is_free = kind == FailureKind::Refused && self.grant.failing_since.is_none();
        let attempts = self.grant.attempts.saturating_add(u32::from(!is_free));
        let failing_since = self.grant.failing_since.unwrap_or(self.now);
        let last_error = LastError::from_failure(failure, kind, self.now);
        // A retry within the provider's grace shows whether the answer was lost. So it is
        // immediate, regardless of earlier failed attempts.
        let newly_in_doubt = kind == FailureKind::Ambiguous && !self.grant.in_doubt;
        if attempts >= self.policy.max_attempts && !newly_in_doubt {
            return ended(
                DeadReason::AttemptsExhausted,
                attempts,
                failing_since,
                last_error,
                Some(fingerprint(&self.grant.refresh_token)),
                BudgetSignal::Neutral,
            );
        }
        let asked = asked_to_wait(failure).unwrap_or_default().min(self.policy.max_pause);
        let climb = self.policy.ladder.after_failure(if newly_in_doubt { 1 } else { attempts });
        let delay = self.policy.ladder.at_least(climb.max(asked));
        let write = DocumentWrite::Postpone {
            attempts,
            in_doubt: self.grant.in_doubt || kind == FailureKind::Ambiguous,
            questioned: self.grant.questioned,
            failing_since: Some(failing_since),
            last_error: Some(last_error),
            next_refresh_at: Some(self.now.plus(delay)),
            queued_until: self.now.plus(delay + RETRY_TIMEOUT),
        };
        Settlement { write, route: JobRoute::Retry(delay), signal: BudgetSignal::Neutral }
    }

    fn grant_dead(&self, failure: &ExchangeFailure) -> Settlement {
        let (kind, reason) = if self.grant.in_doubt {
            (FailureKind::LostResponse, DeadReason::LostResponse)
        } else {
            (FailureKind::GrantDead, DeadReason::GrantDead)
        };
        ended(
            reason,
            self.grant.attempts.saturating_add(1),
            self.grant.failing_since.unwrap_or(self.now),
            LastError::from_failure(failure, kind, self.now),
            Some(fingerprint(&self.grant.refresh_token)),
            BudgetSignal::Neutral,
        )
    }

    /// Retries later. No attempt counts, and the schedule stays.
    fn postponed(
        &self,
        error: Option<LastError>,
        delay: Duration,
        signal: BudgetSignal,
    ) -> Settlement {
        let write = DocumentWrite::Postpone {
            attempts: self.grant.attempts,
            in_doubt: self.grant.in_doubt,
            questioned: self.grant.questioned,
            failing_since: self.grant.failing_since,
            last_error: error,
            next_refresh_at: None,
            queued_until: self.now.plus(delay + RETRY_TIMEOUT),
        };
        Settlement { write, route: JobRoute::Retry(delay), signal }
    }
}

fn ended(
    reason: DeadReason,
    attempts: u32,
    failing_since: Timestamp,
    last_error: LastError,
    dead_fingerprint: Option<String>,
    signal: BudgetSignal,
) -> Settlement {
    let status = match reason {
        DeadReason::GrantDead | DeadReason::LostResponse => GrantStatus::NeedsReauth,
        _ => GrantStatus::Failed,
    };
    let write =
        DocumentWrite::End { status, attempts, failing_since, last_error, dead_fingerprint };
    Settlement { write, route: JobRoute::DeadLetter(reason), signal }
}

fn asked_to_wait(failure: &ExchangeFailure) -> Option<Duration> {
    failure.retry_after_ms.map(Duration::from_millis)
}

#[cfg(test)]
mod tests;
