//! The simulation, and whether it would notice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use evergrant_tests::simulation::{Options, Outcome, Sabotage, run};

/// Runs seeds on all cores, until one violates an invariant.
fn first_violation(seeds: u64, options: Options) -> Option<Outcome> {
    let (next, found) = (AtomicU64::new(0), Mutex::new(None));
    let work = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < seeds
        {
            let outcome = run(seed, options);
            if outcome.violation.is_some() {
                next.store(seeds, Ordering::Relaxed);
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_seed_of_five_hundred_violates_an_invariant() {
    if let Some(outcome) = first_violation(500, Options::default()) {
        let (seed, violation) = (outcome.seed, outcome.violation.unwrap_or_default());
        let replay = "cargo run --release -p evergrant-tests --bin simulate -- --trace --seed";
        panic!("seed {seed}: {violation}\nfor every event: {replay} {seed}");
    }
}

#[test]
fn a_seed_replays_to_the_letter() {
    let options = Options { trace: true, ..Options::default() };
    for seed in 0..10 {
        let (once, again) = (run(seed, options), run(seed, options));
        assert!(once.trace.len() > 100, "seed {seed}: nothing happens");
        let differs = once.trace.iter().zip(&again.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.trace.len(), again.trace.len(), "seed {seed}");
    }
}

fn is_noticed(sabotage: Sabotage) {
    let options = Options { sabotage: Some(sabotage), ..Options::default() };
    let noticed = first_violation(200, options);
    assert!(noticed.is_some(), "{} goes unnoticed", sabotage.as_str());
}

#[test]
fn an_acknowledgement_before_the_commit_is_noticed() {
    is_noticed(Sabotage::AckBeforeCommit);
}

#[test]
fn a_claim_without_a_lease_is_noticed() {
    is_noticed(Sabotage::NoLease);
}

#[test]
fn a_commit_without_a_condition_is_noticed() {
    is_noticed(Sabotage::UnconditionalCommit);
}

#[test]
fn giving_up_a_grant_without_a_second_look_is_noticed() {
    is_noticed(Sabotage::NoReread);
}
