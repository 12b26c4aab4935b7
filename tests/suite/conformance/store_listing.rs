//! Tests of every [`Store`] about listings of grants: each once, in order, page by page.

use std::time::Duration;

use evergrant_domain::{DocumentId, DocumentWrite, GrantStatus};
use evergrant_ports::{GrantFilter, GrantPlace, GrantView, ImportDocument, Store};
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::adapters::{on_each_store, store};
use super::store::{LEASE, claim_for, commit, ended, refreshed, with};

on_each_store!(
    pages_hold_each_grant_once_for_all_id_types,
    addresses_are_found_by_prefix_in_order,
    due_listings_come_soonest_first,
    expiry_listings_come_earliest_first,
    every_part_of_a_filter_must_match,
);

async fn list(store: &dyn Store, filter: GrantFilter) -> Vec<GrantView> {
    store.list(filter).try_collect().await.unwrap()
}

/// All pages of a listing, two grants each.
async fn pages(store: &dyn Store, filter: GrantFilter) -> Vec<DocumentId> {
    let mut found = Vec::new();
    let mut after: Option<GrantPlace> = filter.after.clone();
    loop {
        let page = list(store, GrantFilter { after, limit: Some(2), ..filter.clone() }).await;
        // As text, it passes through a URL.
        after = page
            .last()
            .map(|last| GrantPlace::from_grant(last, filter.order()).to_string().parse().unwrap());
        if page.is_empty() {
            return found;
        }
        found.extend(page.into_iter().map(|grant| grant.id));
        assert!(found.len() < 100, "no end");
    }
}

fn ids(views: &[GrantView]) -> Vec<DocumentId> {
    views.iter().map(|view| view.id.clone()).collect()
}

async fn of_every_type(store: &dyn Store) {
    let ids = [
        json!(-3),
        json!(2),
        json!(2.5),
        json!("a"),
        json!("b"),
        json!({"a": 1}),
        json!({"$uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8"}),
        json!({"$oid": "65f0c0ffee65f0c0ffee65f0"}),
        json!({"$oid": "65f0c0ffee65f0c0ffee65f1"}),
        json!(true),
        json!({"$date": "2026-01-31T12:00:00Z"}),
    ];
    let document = |id: &Value| {
        let json = json!({"_id": id, "userId": "u", "refresh_token": "t", "email": "e"});
        ImportDocument(json.as_object().unwrap().clone())
    };
    store.import(ids.iter().map(document).collect()).await.unwrap();
    store.adopt().await.unwrap();
}

async fn pages_hold_each_grant_once_for_all_id_types() {
    let store = store().await;
    of_every_type(&*store).await;
    for filter in [
        GrantFilter::default(),
        GrantFilter { provider: "p".parse().ok(), ..GrantFilter::default() },
        GrantFilter { status: Some(GrantStatus::Active), ..GrantFilter::default() },
        GrantFilter { email: Some("e".to_owned()), ..GrantFilter::default() },
        GrantFilter { user: Some("u".to_owned()), ..GrantFilter::default() },
        GrantFilter { email_prefix: Some("e".to_owned()), ..GrantFilter::default() },
    ] {
        let all = ids(&list(&*store, filter.clone()).await);
        assert_eq!(all.len(), 11, "{filter:?}");
        assert_eq!(pages(&*store, filter.clone()).await, all, "{filter:?}");
    }
    let now = store.now().await.unwrap();
    let due = GrantFilter { due_by: Some(now), ..GrantFilter::default() };
    let mut all = pages(&*store, due).await;
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 11);
}

async fn addresses_are_found_by_prefix_in_order() {
    let store = store().await;
    let emails = ["b@x", "ann@x", "anna@x", "an", "Ann@x", "ann@a", "\u{10ffff}"];
    let document = |(id, email): (usize, &str)| {
        let json = json!({"_id": id, "userId": "u", "refresh_token": "t", "email": email});
        ImportDocument(json.as_object().unwrap().clone())
    };
    store.import(emails.into_iter().enumerate().map(document).collect()).await.unwrap();
    store.adopt().await.unwrap();
    let begins = |prefix: &str| GrantFilter {
        email_prefix: Some(prefix.to_owned()),
        ..GrantFilter::default()
    };
    let found = list(&*store, begins("ann")).await;
    let found: Vec<_> = found.iter().filter_map(|grant| grant.email.as_deref()).collect();
    assert_eq!(found, ["ann@a", "ann@x", "anna@x"]);
    assert_eq!(pages(&*store, begins("an")).await.len(), 4);
    assert!(list(&*store, begins("anx")).await.is_empty());
}

async fn due_listings_come_soonest_first() {
    let (store, ids) = with(4).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    let now = claimed.now;
    for (row, in_s) in claimed.rows.iter().zip([300_u64, 100, 200]) {
        let at = now.plus(Duration::from_secs(in_s));
        let write = DocumentWrite::Postpone {
            attempts: 0,
            in_doubt: false,
            questioned: false,
            failing_since: None,
            last_error: None,
            next_refresh_at: Some(at),
            queued_until: now,
        };
        commit(&*store, row, "o", write).await;
    }
    commit(&*store, &claimed.rows[3], "o", ended(now)).await;
    let within = |in_s| GrantFilter {
        due_by: Some(now.plus(Duration::from_secs(in_s))),
        ..GrantFilter::default()
    };
    let in_order = [ids[1].clone(), ids[2].clone(), ids[0].clone()];
    assert_eq!(pages(&*store, within(301)).await, in_order);
    assert_eq!(pages(&*store, within(250)).await, in_order[..2]);
    assert!(pages(&*store, within(99)).await.is_empty());
    let dead = GrantFilter { status: Some(GrantStatus::NeedsReauth), ..within(300) };
    assert_eq!(pages(&*store, dead).await, ids[3..]);
}

async fn expiry_listings_come_earliest_first() {
    let (store, ids) = with(3).await;
    let claimed = claim_for(&*store, &ids[..2], "o", LEASE).await;
    let now = claimed.now;
    for (row, in_minutes) in claimed.rows.iter().zip([10, 0]) {
        // Its refresh token expires an hour after that.
        let at = now.plus(Duration::from_secs(60 * in_minutes));
        commit(&*store, row, "o", refreshed("a", Some("r"), at)).await;
    }
    let within = |minutes: u64| GrantFilter {
        expires_by: Some(now.plus(Duration::from_secs(60 * minutes))),
        ..GrantFilter::default()
    };
    let in_order = [ids[1].clone(), ids[0].clone()];
    assert_eq!(pages(&*store, within(71)).await, in_order);
    assert_eq!(pages(&*store, within(69)).await, in_order[..1]);
    assert!(pages(&*store, within(59)).await.is_empty());
}

async fn every_part_of_a_filter_must_match() {
    let (store, _) = with(2).await;
    let now = store.now().await.unwrap();
    let all = GrantFilter {
        provider: "p".parse().ok(),
        status: Some(GrantStatus::Active),
        user: Some("u".to_owned()),
        email: Some("e".to_owned()),
        email_prefix: Some("e".to_owned()),
        due_by: Some(now),
        ..GrantFilter::default()
    };
    assert_eq!(list(&*store, all.clone()).await.len(), 2);
    for one_wrong in [
        GrantFilter { provider: "q".parse().ok(), ..all.clone() },
        GrantFilter { status: Some(GrantStatus::Failed), ..all.clone() },
        GrantFilter { user: Some("v".to_owned()), ..all.clone() },
        GrantFilter { email: Some("f".to_owned()), ..all.clone() },
        GrantFilter { email_prefix: Some("f".to_owned()), ..all.clone() },
        GrantFilter { due_by: Some(now.minus(Duration::from_secs(3_600))), ..all.clone() },
        GrantFilter { expires_by: Some(now), ..all.clone() },
        GrantFilter { limit: Some(0), ..all.clone() },
    ] {
        assert!(list(&*store, one_wrong.clone()).await.is_empty(), "{one_wrong:?}");
    }
}
