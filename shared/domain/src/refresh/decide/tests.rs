use proptest::prelude::*;

use super::*;
use crate::{RefusalScope, SealedForm, TokenExpiry, ToldEnds};

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

fn policy() -> RefreshPolicy {
    RefreshPolicy {
        schedule: RefreshSchedule::example(),
        ladder: Ladder::new([1, 5, 60, 3600].map(Duration::from_secs).to_vec()).unwrap(),
        max_attempts: 3,
        max_pause: Duration::from_secs(3600),
        sealed_tokens: SealedTokens::Hold,
    }
}

fn grant() -> Grant {
    Grant::example(NOW)
}

fn failure() -> ExchangeFailure {
    ExchangeFailure {
        http_status: Some(400),
        code: Some("a_code".into()),
        ..ExchangeFailure::default()
    }
}

fn settle(grant: &Grant, outcome: Outcome) -> Settlement {
    decide(&policy(), grant, &outcome, NOW)
}

fn tokens() -> NewTokens {
    let access = Some(TokenExpiry::In(Duration::from_secs(3600)));
    let ends = ToldEnds { access, ..ToldEnds::default() };
    NewTokens { ends, ..NewTokens::example("a2", Some("r2")) }
}

fn every_outcome() -> Vec<Outcome> {
    vec![
        Outcome::Refreshed(tokens()),
        Outcome::Throttled(failure(), 1),
        Outcome::TooEarly(failure()),
        Outcome::Transient(failure()),
        Outcome::Refused(failure(), RefusalScope::Unclear),
        Outcome::Unreadable(failure(), Vec::new().into()),
        Outcome::Unconfirmed(failure(), Duration::from_secs(15)),
        Outcome::Blank(failure()),
        Outcome::Ambiguous(failure()),
        Outcome::GrantDead(failure()),
        Outcome::Suspicious(failure()),
        Outcome::Misconfigured(failure()),
    ]
}

#[test]
fn a_grant_of_an_unknown_client_waits_and_loses_nothing() {
    let settlement = decide_unknown_client(&policy(), &grant(), "who?", NOW);
    let DocumentWrite::Postpone { attempts, last_error, next_refresh_at, .. } = settlement.write
    else {
        panic!("it ends")
    };
    assert_eq!((attempts, next_refresh_at), (grant().attempts, Some(NOW.plus(TENANT_DELAY))));
    let last_error = last_error.unwrap();
    assert_eq!(last_error.reason, FailureKind::Unsendable);
    assert_eq!(last_error.description.as_deref(), Some("who?"));
    assert_eq!(settlement.route, JobRoute::Done);
}

#[test]
fn a_refresh_is_written_and_done() {
    let settlement = settle(&grant(), Outcome::Refreshed(tokens()));
    assert!(matches!(settlement.write, DocumentWrite::Refresh { refreshed_at: NOW, .. }));
    assert_eq!(settlement.route, JobRoute::Done);
    assert_eq!(settlement.signal, BudgetSignal::Healthy);
}

#[test]
fn a_throttled_grant_waits_as_requested_without_an_attempt() {
    let asked = ExchangeFailure { retry_after_ms: Some(25_000), ..failure() };
    let settlement = settle(&Grant { attempts: 2, ..grant() }, Outcome::Throttled(asked, 1));
    let DocumentWrite::Postpone { attempts: 2, next_refresh_at: None, .. } = settlement.write
    else {
        panic!("{settlement:?}")
    };
    assert_eq!(settlement.route, JobRoute::Retry(Duration::from_secs(60)));
}

#[test]
fn more_throttled_grants_pause_all_for_longer() {
    let pause = |grants| {
        let asked = ExchangeFailure { retry_after_ms: Some(25_000), ..failure() };
        settle(&grant(), Outcome::Throttled(asked, grants)).signal
    };
    for (grants, pause_ms) in [(1, 250), (2, 1_000), (3, 4_000), (4, 16_000), (5, 25_000)] {
        assert_eq!(pause(grants), BudgetSignal::Pause(Duration::from_millis(pause_ms)));
    }
    assert_eq!(pause(u32::MAX), BudgetSignal::Pause(Duration::from_secs(25)));
    assert_eq!(pause(0), BudgetSignal::Neutral, "the provider throttles users, not the client");
}

#[test]
fn an_absurd_retry_after_is_not_believed() {
    let asked = ExchangeFailure { retry_after_ms: Some(u64::MAX), ..failure() };
    let settlement = settle(&grant(), Outcome::Throttled(asked, 50));
    assert_eq!(settlement.signal, BudgetSignal::Pause(Duration::from_secs(3600)));
}

#[test]
fn failures_climb_the_ladder_until_the_job_is_dead() {
    for (before, delay_s) in [(0, 1), (1, 5)] {
        let settlement =
            settle(&Grant { attempts: before, ..grant() }, Outcome::Transient(failure()));
        assert_eq!(settlement.route, JobRoute::Retry(Duration::from_secs(delay_s)));
    }
    let settlement = settle(&Grant { attempts: 2, ..grant() }, Outcome::Transient(failure()));
    assert_eq!(settlement.route, JobRoute::DeadLetter(DeadReason::AttemptsExhausted));
    let DocumentWrite::End { status: GrantStatus::Failed, attempts: 3, .. } = settlement.write
    else {
        panic!("{settlement:?}")
    };
}

#[test]
fn a_servers_retry_time_is_respected() {
    let asked = ExchangeFailure { retry_after_ms: Some(30_000), ..failure() };
    let settlement = settle(&grant(), Outcome::Transient(asked));
    assert_eq!(settlement.route, JobRoute::Retry(Duration::from_secs(60)));
}

#[test]
fn a_lost_answer_is_retried_at_once_and_remembered() {
    let settlement = settle(&grant(), Outcome::Ambiguous(failure()));
    assert_eq!(settlement.route, JobRoute::Retry(Duration::from_secs(1)));
    let DocumentWrite::Postpone { in_doubt: true, .. } = settlement.write else {
        panic!("{settlement:?}")
    };
    // A later failure of another kind does not clear the doubt.
    let doubtful = Grant { in_doubt: true, attempts: 1, ..grant() };
    let settlement = settle(&doubtful, Outcome::Transient(failure()));
    let DocumentWrite::Postpone { in_doubt: true, .. } = settlement.write else {
        panic!("{settlement:?}")
    };
}

#[test]
fn a_lost_answer_is_retried_despite_earlier_failures() {
    let failing = Grant { attempts: 5, ..grant() };
    let settlement = settle(&failing, Outcome::Ambiguous(failure()));
    assert_eq!(settlement.route, JobRoute::Retry(policy().ladder.rungs()[0]));
    let in_doubt = Grant { in_doubt: true, ..failing };
    let settlement = settle(&in_doubt, Outcome::Ambiguous(failure()));
    assert_eq!(settlement.route, JobRoute::DeadLetter(DeadReason::AttemptsExhausted));
}

#[test]
fn a_success_without_a_key_is_a_lost_response() {
    let outcome = Outcome::Unreadable(failure(), b"?".to_vec().into());
    let settlement = without_body(settle(&grant(), outcome));
    assert_eq!(settlement.route, JobRoute::DeadLetter(DeadReason::LostResponse));
    assert_eq!(settlement.signal, BudgetSignal::Trip(TripReason::Unreadable));
    let DocumentWrite::End { status, last_error, dead_fingerprint, .. } = settlement.write else {
        panic!()
    };
    assert_eq!((status, last_error.reason), (GrantStatus::NeedsReauth, FailureKind::LostResponse));
    assert!(last_error.description.unwrap().contains("rescue.key"));
    assert!(dead_fingerprint.is_some());
}

#[test]
fn a_takeover_records_doubt_without_an_attempt() {
    let write = decide_taken_over(&policy(), &grant(), NOW);
    let DocumentWrite::Postpone { in_doubt: true, attempts: 0, next_refresh_at: None, .. } = write
    else {
        panic!("{write:?}")
    };
}

#[test]
fn a_takeover_of_a_grant_not_due_expects_no_job() {
    let later = Grant { next_refresh_at: NOW.plus(Duration::from_secs(9)), ..grant() };
    let write = decide_taken_over(&policy(), &later, NOW);
    assert!(matches!(write, DocumentWrite::Postpone { queued_until: NOW, .. }), "{write:?}");
}

#[test]
fn a_dead_grant_ends_and_remembers_which_token_died() {
    let settlement = settle(&grant(), Outcome::GrantDead(failure()));
    assert_eq!(settlement.route, JobRoute::DeadLetter(DeadReason::GrantDead));
    let DocumentWrite::End { status, dead_fingerprint, last_error, .. } = settlement.write else {
        panic!("not ended")
    };
    assert_eq!(status, GrantStatus::NeedsReauth);
    assert_eq!(dead_fingerprint, Some(fingerprint(&"the-token".into())));
    assert_eq!((last_error.reason, last_error.at), (FailureKind::GrantDead, NOW));
}

#[test]
fn a_death_after_a_lost_answer_says_so() {
    let doubtful = Grant { in_doubt: true, ..grant() };
    let settlement = settle(&doubtful, Outcome::GrantDead(failure()));
    assert_eq!(settlement.route, JobRoute::DeadLetter(DeadReason::LostResponse));
    let DocumentWrite::End { last_error, .. } = settlement.write else { panic!("not ended") };
    assert_eq!(last_error.reason, FailureKind::LostResponse);
}

#[test]
fn an_unconfirmed_death_is_asked_again_by_schedule() {
    let again = Duration::from_secs(15);
    let settlement = settle(&grant(), Outcome::Unconfirmed(failure(), again));
    assert_eq!((settlement.route, settlement.signal), (JobRoute::Done, BudgetSignal::Neutral));
    let DocumentWrite::Postpone { questioned, next_refresh_at, last_error, .. } = settlement.write
    else {
        panic!("ended")
    };
    assert_eq!((questioned, next_refresh_at), (true, Some(NOW.plus(again))));
    assert_eq!(last_error.unwrap().reason, FailureKind::Unconfirmed);
}

#[test]
fn a_grant_requested_too_early_waits() {
    let settlement = settle(&Grant { attempts: 1, ..grant() }, Outcome::TooEarly(failure()));
    let DocumentWrite::Postpone { attempts: 1, questioned: false, next_refresh_at, .. } =
        settlement.write
    else {
        panic!("{settlement:?}")
    };
    assert_eq!(next_refresh_at, Some(NOW.plus(EARLY_DELAY)));
}

#[test]
fn the_first_refusal_in_a_row_counts_no_attempt() {
    let refused = || Outcome::Refused(failure(), RefusalScope::Unclear);
    let attempts = |grant: &Grant| match settle(grant, refused()).write {
        DocumentWrite::Postpone { attempts, .. } => attempts,
        other => panic!("{other:?}"),
    };
    assert_eq!(attempts(&grant()), 0);
    assert_eq!(attempts(&Grant { failing_since: Some(NOW), ..grant() }), 1);
}

#[test]
fn an_unreadable_answer_withholds_its_grant_and_stops_the_provider() {
    let settlement = settle(&grant(), Outcome::Unreadable(failure(), Vec::new().into()));
    assert_eq!(settlement.signal, BudgetSignal::Trip(TripReason::Unreadable));
    assert_eq!(settlement.route, JobRoute::DeadLetter(DeadReason::UncommittedAnswer));
    let DocumentWrite::End { status: GrantStatus::Failed, .. } = settlement.write else {
        panic!("not ended")
    };
}

#[test]
fn a_rejected_client_stops_the_provider_and_costs_no_grant() {
    for (outcome, reason) in [
        (Outcome::Misconfigured(failure()), TripReason::Misconfigured),
        (Outcome::Blank(failure()), TripReason::Unreadable),
        (Outcome::Suspicious(failure()), TripReason::Suspicious),
    ] {
        let settlement = settle(&Grant { attempts: 2, ..grant() }, outcome);
        assert_eq!(settlement.signal, BudgetSignal::Trip(reason));
        assert_eq!(settlement.route, JobRoute::Done, "the schedule brings it back");
        let DocumentWrite::Postpone { attempts: 2, .. } = settlement.write else {
            panic!("burned")
        };
    }
}

#[test]
fn only_a_page_with_a_success_status_leaves_doubt() {
    let page = ExchangeFailure { http_status: Some(200), code: None, ..failure() };
    let said = ExchangeFailure { code: Some("bad_refresh_token".to_owned()), ..page.clone() };
    for (outcome, expected) in [
        (Outcome::Blank(page.clone()), true),
        (Outcome::Misconfigured(page.clone()), true),
        (Outcome::Misconfigured(said.clone()), false),
        (Outcome::Suspicious(page), false),
        (Outcome::Suspicious(said), false),
    ] {
        let settlement = settle(&grant(), outcome);
        let DocumentWrite::Postpone { in_doubt, .. } = settlement.write else {
            panic!("{settlement:?}")
        };
        assert_eq!(in_doubt, expected, "{settlement:?}");
    }
}

#[test]
fn a_malformed_document_fails_without_a_retry() {
    let settlement = decide_malformed("refresh_token is a number", None, NOW);
    assert_eq!(settlement.route, JobRoute::DeadLetter(DeadReason::MalformedDocument));
    let DocumentWrite::End { status: GrantStatus::Failed, dead_fingerprint: None, .. } =
        settlement.write
    else {
        panic!("{settlement:?}")
    };
}

#[test]
fn a_new_grant_that_is_not_due_is_scheduled() {
    let signed_in_until = Some(NOW.plus(Duration::from_secs(3000)));
    let new = Grant { generation: 0, signed_in_until, ..grant() };
    let settlement = decide_signed_in(&policy(), &new, NOW).unwrap();
    assert!(
        matches!(settlement.write, DocumentWrite::Schedule(times) if times.next_refresh_at > NOW)
    );
    assert_eq!(settlement.route, JobRoute::Done);
    assert!(decide_signed_in(&policy(), &grant(), NOW).is_none());
}

#[test]
fn a_claim_given_back_changes_nothing_but_the_lease() {
    let tired = Grant { attempts: 2, in_doubt: true, ..grant() };
    let settlement = decide_given_back(&policy(), &tired, NOW);
    let DocumentWrite::Postpone {
        attempts: 2,
        in_doubt: true,
        last_error: None,
        next_refresh_at: None,
        ..
    } = settlement.write
    else {
        panic!("{settlement:?}")
    };
}

#[test]
fn only_a_definite_answer_of_the_provider_ends_a_grant_at_once() {
    for outcome in every_outcome() {
        let ends = matches!(settle(&grant(), outcome.clone()).write, DocumentWrite::End { .. });
        let definite = matches!(outcome, Outcome::GrantDead(_) | Outcome::Unreadable(..));
        assert_eq!(ends, definite, "{}", outcome.name());
    }
}

proptest! {
    /// Covers the table: every outcome in every state of a grant.
    #[test]
    fn every_outcome_leaves_document_and_job_consistent(
        which in 0_usize..12, attempts in 0_u32..10, in_doubt in any::<bool>(),
        retry_after_ms in proptest::option::of(any::<u64>()),
    ) {
        let grant = Grant { attempts, in_doubt, ..grant() };
        let mut outcome = every_outcome()[which].clone();
        if let Outcome::Transient(failure) | Outcome::Throttled(failure, _) = &mut outcome {
            failure.retry_after_ms = retry_after_ms;
        }
        let settlement = settle(&grant, outcome);
        match (&settlement.write, settlement.route) {
            (DocumentWrite::Refresh { .. }, JobRoute::Done) => {}
            (DocumentWrite::End { status, .. }, JobRoute::DeadLetter(_)) => {
                prop_assert!(matches!(status, GrantStatus::NeedsReauth | GrantStatus::Failed));
            }
            (DocumentWrite::Postpone { queued_until, in_doubt: still, .. }, JobRoute::Retry(delay)) => {
                prop_assert!(policy().ladder.rungs().contains(&delay));
                // The producer publishes no second job while the retry is under way.
                prop_assert!(*queued_until > NOW.plus(delay));
                prop_assert!(*still || !in_doubt, "a doubt is forgotten");
            }
            // The schedule makes the next job.
            (
                DocumentWrite::Postpone { queued_until, next_refresh_at: Some(next), attempts: same, .. },
                JobRoute::Done,
            ) => {
                prop_assert!(*queued_until <= NOW && *next > NOW);
                prop_assert_eq!(*same, attempts);
            }
            other => prop_assert!(false, "{other:?}"),
        }
        let shown = format!("{settlement:?}");
        prop_assert!(!shown.contains("the-token"));
    }
}

#[test]
fn a_sealed_token_is_held_and_its_grant_stays_active() {
    let sealed = Grant { sealed: Some(SealedForm::Envelope), attempts: 2, ..grant() };
    let settlement = decide_sealed(&policy(), &sealed, NOW).unwrap();
    assert_eq!((settlement.route, settlement.signal), (JobRoute::Done, BudgetSignal::Neutral));
    let DocumentWrite::Postpone { attempts, last_error: Some(error), next_refresh_at, .. } =
        settlement.write
    else {
        panic!("not postponed")
    };
    assert_eq!((attempts, error.reason), (2, FailureKind::SealedToken));
    assert_eq!(next_refresh_at, Some(NOW.plus(SEALED_DELAY_MIN)));
    assert!(error.description.unwrap().contains("sealed_tokens = \"send\""));
}

#[test]
fn a_sealed_token_is_sent_if_the_settings_say_so() {
    let sealed = Grant { sealed: Some(SealedForm::Envelope), ..grant() };
    let send = RefreshPolicy { sealed_tokens: SealedTokens::Send, ..policy() };
    assert!(decide_sealed(&send, &sealed, NOW).is_none());
    assert!(decide_sealed(&policy(), &grant(), NOW).is_none());
}

#[test]
fn a_sealed_tokens_waits_grow() {
    let waits = |held_for| {
        let failing_since = Some(NOW.minus(held_for));
        let sealed = Grant { sealed: Some(SealedForm::Envelope), failing_since, ..grant() };
        match decide_sealed(&policy(), &sealed, NOW).unwrap().write {
            DocumentWrite::Postpone { next_refresh_at: Some(next), .. } => next.since(NOW),
            other => panic!("{other:?}"),
        }
    };
    let hour = Duration::from_secs(3_600);
    assert_eq!(waits(hour / 2), SEALED_DELAY_MIN);
    assert_eq!(waits(8 * hour), 2 * hour);
    assert_eq!(waits(100 * hour), SEALED_DELAY_MAX);
}

#[test]
fn a_sealed_token_is_sent_near_its_end() {
    let lifetime = policy().schedule.refresh_idle_lifetime.unwrap();
    let sealed = Grant { sealed: Some(SealedForm::Envelope), ..grant() };
    for (held_for, is_sent) in [(lifetime / 2, false), (lifetime * 9 / 10, true)] {
        let sealed = Grant { failing_since: Some(NOW.minus(held_for)), ..sealed.clone() };
        assert_eq!(decide_sealed(&policy(), &sealed, NOW).is_none(), is_sent, "{held_for:?}");
    }
    for (left, is_sent) in [(lifetime / 2, false), (lifetime / 20, true)] {
        let ends = KnownEnds { idle: Some(NOW.plus(left)), ..KnownEnds::default() };
        let sealed = Grant { ends, ..sealed.clone() };
        assert_eq!(decide_sealed(&policy(), &sealed, NOW).is_none(), is_sent, "{left:?}");
    }
}
