//! Tests of every [`Store`] about coordination: lease renewal, leader election, provider states.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{BudgetSignal, DocumentId, ProviderId, ProviderState, Timestamp};

use super::adapters::{on_each_store, store};
use super::store::{LEASE, NO_LEASE, claim, claim_for, with};

on_each_store!(
    only_its_holder_renews_a_lease,
    a_released_lease_is_not_renewed,
    a_role_has_one_leader_and_each_role_its_own,
    a_kept_lead_stays_and_a_resigned_one_is_free,
    a_lead_that_ran_out_is_another_ones,
    of_many_simultaneous_candidates_one_leads,
    a_providers_state_is_shared,
    a_providers_state_has_one_writer_at_a_time,
);

async fn only_its_holder_renews_a_lease() {
    for (owner, prolonged) in [("holder", true), ("another", false)] {
        let (store, ids) = with(1).await;
        claim_for(&*store, &ids, "holder", SHORT_LEASE).await;
        store.renew(&ids, owner, LEASE).await.unwrap();
        tokio::time::sleep(2 * SHORT_LEASE).await;
        assert_eq!(claim(&*store, &ids, "next").await[0].owned(), !prolonged, "by {owner}");
    }
}

/// Long enough to do something within it.
const SHORT_LEASE: Duration = Duration::from_millis(500);

async fn a_released_lease_is_not_renewed() {
    let (store, ids) = with(1).await;
    claim(&*store, &ids, "holder").await;
    store.release(&ids, "holder").await.unwrap();
    store.renew(&ids, "holder", LEASE).await.unwrap();
    store.renew(&[DocumentId::Integer(404)], "holder", LEASE).await.unwrap();
    assert!(claim(&*store, &ids, "next").await[0].owned());
}

async fn a_role_has_one_leader_and_each_role_its_own() {
    let store = store().await;
    assert!(store.lead("one", "a", LEASE).await.unwrap());
    assert!(!store.lead("one", "b", LEASE).await.unwrap());
    assert!(store.lead("another", "b", LEASE).await.unwrap());
}

async fn a_kept_lead_stays_and_a_resigned_one_is_free() {
    let store = store().await;
    assert!(store.lead("r", "a", NO_LEASE).await.unwrap());
    assert!(store.lead("r", "a", LEASE).await.unwrap(), "its own");
    store.resign("r", "b").await.unwrap();
    assert!(!store.lead("r", "b", LEASE).await.unwrap(), "not theirs to give up");
    store.resign("r", "a").await.unwrap();
    assert!(store.lead("r", "b", LEASE).await.unwrap());
}

async fn a_lead_that_ran_out_is_another_ones() {
    let store = store().await;
    assert!(store.lead("r", "a", NO_LEASE).await.unwrap());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(store.lead("r", "b", LEASE).await.unwrap());
    assert!(!store.lead("r", "a", LEASE).await.unwrap());
}

async fn of_many_simultaneous_candidates_one_leads() {
    let store = store().await;
    let candidates = (0..8).map(|n| {
        let store = Arc::clone(&store);
        async move { store.lead("r", &format!("candidate-{n}"), LEASE).await.unwrap() }
    });
    let led = futures::future::join_all(candidates).await;
    assert_eq!(led.iter().filter(|leads| **leads).count(), 1);
}

fn provider() -> ProviderId {
    "p".parse().unwrap()
}

fn paused(seconds: u64) -> ProviderState {
    let mut state = ProviderState::default();
    let pause = BudgetSignal::Pause(Duration::from_secs(seconds));
    state.gate.note(&pause, Timestamp::from_unix_ms(1_700_000_000_123));
    state
}

async fn a_providers_state_is_shared() {
    let store = store().await;
    let unknown = store.provider_state(&provider()).await.unwrap();
    assert_eq!((unknown.value, unknown.version), (ProviderState::default(), 0));
    assert!(store.set_provider_state(&provider(), 0, &paused(5)).await.unwrap());
    let known = store.provider_state(&provider()).await.unwrap();
    assert_eq!((known.value, known.version), (paused(5), 1));
    let now = store.now().await.unwrap();
    let error = known.now_error.unwrap_or_default();
    assert!(now.since(known.now) < Duration::from_secs(10) && known.now.minus(error) <= now);
    let another = store.provider_state(&"q".parse().unwrap()).await.unwrap();
    assert_eq!(another.version, 0);
}

async fn a_providers_state_has_one_writer_at_a_time() {
    let store = store().await;
    for version in 0..3 {
        let replicas = (0..4).map(|n| {
            let store = Arc::clone(&store);
            async move { store.set_provider_state(&provider(), version, &paused(n)).await.unwrap() }
        });
        let replaced = futures::future::join_all(replicas).await;
        assert_eq!(replaced.iter().filter(|replaced| **replaced).count(), 1, "of {version}");
    }
    assert!(!store.set_provider_state(&provider(), 0, &paused(9)).await.unwrap());
    assert_eq!(store.provider_state(&provider()).await.unwrap().version, 3);
}
