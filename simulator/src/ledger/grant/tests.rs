//! What a grant may and may not do, exhaustively by property.

use std::sync::Arc;

use proptest::prelude::*;

use crate::ledger::grant::{DeathCause, Exchange, Grant, Terms, TokenStanding};

const STRICT: Terms =
    Terms { rotate: true, kill_on_reuse: true, grace_ms: 0, idle_ms: None, absolute_ms: None };

fn terms(grace_ms: u64) -> Terms {
    Terms { grace_ms, ..STRICT }
}

fn grant(terms: &Terms) -> Grant {
    Grant::new(Arc::from("ada"), None, 0, terms)
}

fn cause(grant: &Grant, now_ms: u64) -> Option<DeathCause> {
    grant.death(now_ms).map(|death| death.cause)
}

#[test]
fn an_exchange_replaces_the_token() {
    let mut grant = grant(&STRICT);
    let rotated = Exchange::Rotated { number: 1, in_grace: false };
    assert_eq!(grant.exchange(0, false, 5, &STRICT), rotated);
    assert!(!grant.accepts(0, 5) && grant.accepts(1, 5));
    assert_eq!((grant.generation, grant.exchanges, grant.exchanged_at_ms), (1, 1, Some(5)));
}

#[test]
fn a_token_presented_after_its_rotation_kills_the_family() {
    let mut grant = grant(&STRICT);
    grant.exchange(0, false, 0, &STRICT);
    assert_eq!(grant.exchange(0, false, 1, &STRICT), Exchange::Reused);
    assert_eq!(cause(&grant, 1), Some(DeathCause::Reuse));
    assert_eq!(grant.exchange(1, false, 2, &STRICT), Exchange::Dead);
    assert_eq!(grant.reused, 1);
}

#[test]
fn reuse_is_only_refused_when_the_detection_is_off() {
    let lenient = Terms { kill_on_reuse: false, ..STRICT };
    let mut grant = grant(&lenient);
    grant.exchange(0, false, 0, &lenient);
    assert_eq!(grant.exchange(0, false, 1, &lenient), Exchange::Reused);
    assert!(grant.accepts(1, 1));
}

#[test]
fn a_retry_within_the_grace_yields_a_sibling_and_both_are_live() {
    let terms = terms(100);
    let mut grant = grant(&terms);
    grant.exchange(0, false, 0, &terms);
    let retried = Exchange::Rotated { number: 2, in_grace: true };
    assert_eq!(grant.exchange(0, false, 99, &terms), retried);
    assert!(grant.accepts(1, 99) && grant.accepts(2, 99) && grant.accepts(0, 99));
    assert_eq!((grant.generation, grant.double_exchanges, grant.reused), (1, 1, 0));
}

#[test]
fn the_grace_runs_from_the_first_rotation_and_is_not_prolonged_by_a_retry() {
    let terms = terms(100);
    let mut grant = grant(&terms);
    grant.exchange(0, false, 0, &terms);
    grant.exchange(0, false, 99, &terms);
    assert_eq!(grant.exchange(0, false, 100, &terms), Exchange::Reused);
}

#[test]
fn using_one_sibling_ends_the_others_and_the_grandparent() {
    let terms = terms(100);
    let mut grant = grant(&terms);
    grant.exchange(0, false, 0, &terms);
    grant.exchange(0, false, 1, &terms);
    grant.exchange(1, false, 2, &terms);
    assert_eq!(grant.standing(0, 3), TokenStanding::Superseded);
    assert_eq!(grant.standing(1, 3), TokenStanding::InGrace);
    assert_eq!(grant.standing(2, 3), TokenStanding::Superseded);
    assert_eq!(grant.standing(3, 3), TokenStanding::Live);
    assert_eq!(grant.standing(4, 3), TokenStanding::Unissued);
}

#[test]
fn without_rotation_the_token_stays_and_its_idle_lifetime_begins_anew() {
    let terms = Terms { rotate: false, idle_ms: Some(100), ..STRICT };
    let mut grant = grant(&terms);
    assert_eq!(grant.exchange(0, false, 90, &terms), Exchange::Kept);
    assert_eq!(cause(&grant, 189), None);
    assert_eq!(cause(&grant, 190), Some(DeathCause::Expired));
}

#[test]
fn a_token_in_its_grace_is_rotated_even_if_it_was_to_be_kept() {
    let terms = terms(100);
    let mut grant = grant(&terms);
    grant.exchange(0, false, 0, &terms);
    assert!(matches!(grant.exchange(0, true, 1, &terms), Exchange::Rotated { .. }));
}

#[test]
fn the_absolute_lifetime_is_inherited_by_successors() {
    let terms = Terms { absolute_ms: Some(100), idle_ms: Some(80), ..STRICT };
    let mut grant = grant(&terms);
    grant.exchange(0, false, 70, &terms);
    assert_eq!(cause(&grant, 99), None);
    assert_eq!(grant.exchange(1, false, 100, &terms), Exchange::Dead);
    assert_eq!(cause(&grant, 100), Some(DeathCause::Expired));
}

#[test]
fn a_forgiven_grant_takes_up_where_it_died() {
    let terms = terms(100);
    let mut grant = grant(&terms);
    grant.exchange(0, false, 0, &terms);
    grant.kill(DeathCause::Revoked, 40);
    assert_eq!(grant.exchange(1, false, 50, &terms), Exchange::Dead);
    assert!(grant.forgive(10_000, &terms));
    assert!(grant.accepts(1, 10_000));
    assert!(grant.accepts(0, 10_059) && !grant.accepts(0, 10_060));
}

#[test]
fn an_expired_grant_lives_anew_when_forgiven() {
    let terms = Terms { idle_ms: Some(10), absolute_ms: Some(10), ..STRICT };
    let mut grant = grant(&terms);
    assert!(grant.forgive(50, &terms));
    assert_eq!((cause(&grant, 59), cause(&grant, 60)), (None, Some(DeathCause::Expired)));
}

#[test]
fn a_grant_lost_by_reuse_is_not_forgiven() {
    let mut grant = grant(&STRICT);
    grant.exchange(0, false, 0, &STRICT);
    grant.exchange(0, false, 1, &STRICT);
    assert!(!grant.forgive(2, &STRICT));
    assert_eq!(cause(&grant, 2), Some(DeathCause::Reuse));
}

#[test]
fn the_first_cause_of_death_stays() {
    let mut grant = grant(&STRICT);
    grant.exchange(0, false, 0, &STRICT);
    grant.kill(DeathCause::Revoked, 1);
    assert_eq!(grant.exchange(0, false, 2, &STRICT), Exchange::Reused);
    assert_eq!(cause(&grant, 2), Some(DeathCause::Revoked));
    assert_eq!(grant.reused, 1);
}

/// One step of a client that may do anything: wait, then present any token.
fn steps() -> impl Strategy<Value = Vec<(u64, u32, bool)>> {
    prop::collection::vec((0u64..60, 0u32..12, any::<bool>()), 1..60)
}

proptest! {
    #[test]
    fn strict_rotation_leaves_at_most_one_live_token(steps in steps()) {
        let mut grant = grant(&STRICT);
        let mut now_ms = 0;
        for (wait_ms, number, keep) in steps {
            now_ms += wait_ms;
            grant.exchange(number, keep, now_ms, &STRICT);
            let live = (0..=grant.newest).filter(|n| grant.accepts(*n, now_ms)).count();
            prop_assert_eq!(live, usize::from(grant.death(now_ms).is_none()));
        }
    }

    #[test]
    fn strict_rotation_never_exchanges_a_token_twice_even_if_times_are_out_of_order(steps in steps()) {
        let mut grant = grant(&STRICT);
        let mut rotated = std::collections::HashSet::new();
        for (now_ms, number, _) in steps {
            if let Exchange::Rotated { in_grace, .. } =
                grant.exchange(number, false, now_ms, &STRICT)
            {
                prop_assert!(!in_grace && rotated.insert(number));
            }
        }
    }

    #[test]
    fn what_is_accepted_is_exchanged_and_nothing_else(steps in steps(), grace_ms in 0u64..200) {
        let terms = Terms { idle_ms: Some(500), absolute_ms: Some(2_000), ..terms(grace_ms) };
        let mut grant = grant(&terms);
        let mut now_ms = 0;
        for (wait_ms, number, keep) in steps {
            now_ms += wait_ms;
            let accepted = grant.accepts(number, now_ms);
            let outcome = grant.exchange(number, keep, now_ms, &terms);
            let done = matches!(outcome, Exchange::Rotated { .. } | Exchange::Kept);
            prop_assert_eq!(done, accepted);
        }
    }

    #[test]
    fn a_living_family_always_has_a_live_leaf(steps in steps(), grace_ms in 0u64..200) {
        let terms = terms(grace_ms);
        let mut grant = grant(&terms);
        let mut now_ms = 0;
        for (wait_ms, number, keep) in steps {
            now_ms += wait_ms;
            grant.exchange(number, keep, now_ms, &terms);
            prop_assert!(grant.death(now_ms).is_some() || grant.accepts(grant.newest, now_ms));
            prop_assert!(grant.generation <= grant.exchanges);
        }
    }
}
