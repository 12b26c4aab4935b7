//! Tests of every [`Store`] about operations: audit record, processes, statistics, and changes of
//! one grant.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::audit::{
    ActionIntent, ActionOutcome, ActionProgress, AuditFilter, OperatorAction,
};
use evergrant_domain::audit_chain::ChainCheck;
use evergrant_domain::heartbeat::{Heartbeat, LaneReport, ProcessProblem, ProcessRole};
use evergrant_domain::statistics::{ProviderCounts, minute_of};
use evergrant_domain::{DeadReason, DocumentId, GrantStatus, ProviderId, Timestamp};
use evergrant_ports::{
    ChangeResult, Commit, CommitResult, DueSelection, GrantChange, GrantCount, GrantView, Store,
};

use super::adapters::{on_each_store, store};
use super::store::{
    LEASE, claim, claim_for, commit, document, due, ended, exported, grant, owned, postponed,
    refreshed, with,
};

on_each_store!(
    an_action_is_recorded_from_beginning_to_end,
    the_record_is_read_newest_first_with_filters,
    entries_of_all_operators_form_one_chain,
    a_process_is_listed_with_its_last_heartbeat,
    a_minutes_counts_are_summed_over_workers,
    grants_are_counted_by_provider_and_status,
    the_statuses_of_many_grants_are_read_at_once,
    due_grants_are_counted_up_to_a_limit,
    a_paused_grant_is_inactive_until_resumed,
    a_refresh_during_a_pause_writes_its_tokens,
    a_death_under_way_ends_a_paused_grant,
    only_active_grants_are_paused_and_only_paused_ones_resumed,
    a_forgotten_grants_document_is_adopted_again,
    nothing_is_forgotten_while_an_answer_may_come,
);

async fn view(store: &dyn Store, id: &DocumentId) -> GrantView {
    store.get(id).await.unwrap().unwrap()
}

fn intent(who: &str, action: OperatorAction, document: Option<DocumentId>) -> ActionIntent {
    ActionIntent {
        who: who.to_owned(),
        action,
        provider: "p".parse().ok(),
        document,
        request: serde_json::json!({ "filter": { "reason": "grant_dead" }, "$limit": 5 }),
        why: "an incident: \u{1b}[31m \"quoted\"".to_owned(),
    }
}

async fn an_action_is_recorded_from_beginning_to_end() {
    let store = store().await;
    let wanted = intent("root@host", OperatorAction::Redrive, Some(DocumentId::ObjectId([7; 12])));
    let begun = store.begin_audit(wanted.clone()).await.unwrap();
    let now = store.now().await.unwrap();
    assert!(begun.at <= now && now.since(begun.at) < Duration::from_secs(10));
    assert_eq!(store.audit_entry(&begun.id).await.unwrap(), Some(begun.clone()));
    assert_eq!((&begun.why, &begun.request), (&wanted.why, &wanted.request));
    assert_eq!(begun.outcome(now), ActionOutcome::Running);

    let progress = ActionProgress {
        outcome: ActionOutcome::Partial,
        matched: Some(80),
        done: 70,
        left: 10,
        detail: "10 documents are gone".to_owned(),
    };
    store.tell_audit(&begun.id, &progress).await.unwrap();
    store.tell_audit("no such entry", &progress).await.unwrap();
    let told = store.audit_entry(&begun.id).await.unwrap().unwrap();
    assert_eq!(told.progress, progress);
    assert!(told.told_at >= begun.told_at);
    assert_eq!(
        (told.who, told.action, told.document),
        (wanted.who, wanted.action, wanted.document)
    );
    assert_eq!(store.audit_entry("no such entry").await.unwrap(), None);
}

async fn entries_of_all_operators_form_one_chain() {
    let store = store().await;
    let begin = |number: i64| {
        let store = Arc::clone(&store);
        let wanted = intent("ann", OperatorAction::Export, Some(DocumentId::Integer(number)));
        async move { store.begin_audit(wanted).await.unwrap() }
    };
    let begun = futures::future::join_all((0..12).map(begin)).await;
    let done =
        ActionProgress { outcome: ActionOutcome::Done, done: 1, ..ActionProgress::default() };
    store.tell_audit(&begun[3].id, &done).await.unwrap();
    let mut check = ChainCheck::default();
    let mut number = 0;
    loop {
        let page = store.audit_chain(number, 5).await.unwrap();
        page.iter().for_each(|entry| check.add(entry));
        match page.last() {
            Some(last) => number = last.link.as_ref().unwrap().number,
            None => break,
        }
    }
    assert_eq!((check.entries(), number, check.flaws()), (12, 12, [].as_slice()));
    let listed = store.audit_entry(&begun[3].id).await.unwrap().unwrap();
    assert_eq!((listed.link, listed.progress), (begun[3].link.clone(), done));
}

async fn the_record_is_read_newest_first_with_filters() {
    let store = store().await;
    let one = DocumentId::Integer(1);
    for (who, action, document) in [
        ("ann", OperatorAction::Redrive, None),
        ("ben", OperatorAction::TokenPause, Some(one.clone())),
        ("ann", OperatorAction::TokenPause, Some(DocumentId::String("1".to_owned()))),
        ("ben", OperatorAction::Discard, None),
    ] {
        store.begin_audit(intent(who, action, document)).await.unwrap();
        // The record is in the order of the store's milliseconds.
        let began = store.now().await.unwrap();
        while store.now().await.unwrap() <= began {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let all = AuditFilter { limit: 10, ..AuditFilter::default() };
    let actions = |filter: AuditFilter| {
        let store = Arc::clone(&store);
        async move {
            let found = store.audit(&filter).await.unwrap();
            found.into_iter().map(|entry| entry.action).collect::<Vec<_>>()
        }
    };
    let [redrive, pause, discard] =
        [OperatorAction::Redrive, OperatorAction::TokenPause, OperatorAction::Discard];
    assert_eq!(actions(all.clone()).await, [discard, pause, pause, redrive]);
    let first = store.audit(&AuditFilter { limit: 3, ..all.clone() }).await.unwrap();
    let before = first.last().map(|entry| entry.id.clone());
    assert_eq!(first.len(), 3);
    assert_eq!(actions(AuditFilter { before, ..all.clone() }).await, [redrive]);
    let of = |change: fn(&mut AuditFilter)| {
        let mut filter = all.clone();
        change(&mut filter);
        filter
    };
    assert_eq!(actions(of(|f| f.who = Some("ann".to_owned()))).await, [pause, redrive]);
    assert_eq!(actions(of(|f| f.action = Some(OperatorAction::Discard))).await, [discard]);
    assert_eq!(actions(of(|f| f.provider = "q".parse().ok())).await, []);
    assert_eq!(actions(of(|f| f.limit = 0)).await, []);
    let about_one = AuditFilter { document: Some(one), ..all.clone() };
    assert_eq!(actions(about_one).await, [pause]);
    let since = Some(first[1].at);
    assert_eq!(actions(AuditFilter { since, ..all }).await, [discard, pause]);
}

fn heartbeat(name: &str, role: ProcessRole, refreshed: u64) -> Heartbeat {
    Heartbeat {
        name: name.to_owned(),
        role,
        version: "1.2.3".to_owned(),
        host: "host".to_owned(),
        pid: 4_711,
        started_at: Timestamp::from_unix_ms(1_700_000_000_000),
        beat_at: Timestamp::default(),
        leads: role == ProcessRole::Producer,
        lanes: vec![LaneReport {
            provider: "p".parse().unwrap(),
            in_flight: 3,
            refreshed,
            failed: 1,
            refreshed_lately: 60,
        }],
        problems: vec![ProcessProblem { what: "a queue".to_owned(), detail: "gone".to_owned() }],
    }
}

async fn a_process_is_listed_with_its_last_heartbeat() {
    let store = store().await;
    store.beat(&heartbeat("b", ProcessRole::Worker, 1)).await.unwrap();
    store.beat(&heartbeat("a", ProcessRole::Worker, 1)).await.unwrap();
    store.beat(&heartbeat("z", ProcessRole::Producer, 0)).await.unwrap();
    store.beat(&heartbeat("b", ProcessRole::Worker, 5)).await.unwrap();
    let processes = store.processes().await.unwrap();
    let names: Vec<_> = processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["z", "a", "b"]);
    let now = store.now().await.unwrap();
    let last = &processes[2];
    assert!(!last.is_gone(now) && now.since(last.beat_at) < Duration::from_secs(10));
    let said = Heartbeat { beat_at: last.beat_at, ..heartbeat("b", ProcessRole::Worker, 5) };
    assert_eq!(*last, said);
    store.end_beat("b").await.unwrap();
    store.end_beat("never was").await.unwrap();
    assert_eq!(store.processes().await.unwrap().len(), 2);
}

async fn a_minutes_counts_are_summed_over_workers() {
    let store = store().await;
    let [p, q] = ["p", "q"].map(|name| name.parse::<ProviderId>().unwrap());
    let counts = ProviderCounts {
        refreshed: 10,
        throttled: 1,
        dead: [(DeadReason::GrantDead, 2)].into(),
        ..ProviderCounts::default()
    };
    let began = store.now().await.unwrap();
    let workers = (0..4).map(|_| {
        let (store, counts) = (Arc::clone(&store), [(p.clone(), counts.clone())]);
        async move { store.add_statistics(&counts).await.unwrap() }
    });
    futures::future::join_all(workers).await;
    let other = ProviderCounts { due: 7, ..ProviderCounts::default() };
    store
        .add_statistics(&[(q.clone(), other), (p.clone(), ProviderCounts::default())])
        .await
        .unwrap();

    let minutes = store.statistics(began).await.unwrap();
    assert!(minutes.iter().all(|minute| minute.minute == minute_of(minute.minute)));
    assert!(minutes.iter().all(|minute| minute.minute >= minute_of(began)));
    let sum = |provider: &ProviderId| {
        let mut sum = ProviderCounts::default();
        let of_provider = minutes.iter().filter(|minute| minute.provider == *provider);
        of_provider.for_each(|minute| sum.add(&minute.counts));
        (sum.due, sum.refreshed, sum.throttled, sum.dead_in_all())
    };
    assert_eq!(sum(&p), (0, 40, 4, 8));
    assert_eq!(sum(&q), (7, 0, 0, 0));
    let later = began.plus(Duration::from_secs(3_600));
    assert!(store.statistics(later).await.unwrap().is_empty());
}

async fn grants_are_counted_by_provider_and_status() {
    let (store, ids) = with(5).await;
    let claimed = claim_for(&*store, &ids[..1], "o", LEASE).await;
    commit(&*store, &claimed.rows[0], "o", ended(claimed.now)).await;
    store.change_grant(&ids[1], GrantChange::Pause).await.unwrap();
    store.import(vec![document(99, "not adopted")]).await.unwrap();
    let p = "p".parse().ok();
    let count = |provider, status, count| GrantCount { provider, status, count };
    assert_eq!(
        store.count_grants().await.unwrap(),
        [
            count(None, None, 1),
            count(p.clone(), Some(GrantStatus::Active), 3),
            count(p.clone(), Some(GrantStatus::NeedsReauth), 1),
            count(p, Some(GrantStatus::Paused), 1),
        ]
    );
}

async fn the_statuses_of_many_grants_are_read_at_once() {
    let (store, ids) = with(3).await;
    let claimed = claim_for(&*store, &ids[..1], "o", LEASE).await;
    commit(&*store, &claimed.rows[0], "o", ended(claimed.now)).await;
    store.change_grant(&ids[1], GrantChange::Pause).await.unwrap();
    let asked = [ids[2].clone(), DocumentId::Integer(1_000), ids[0].clone(), ids[1].clone()];
    let statuses = [
        Some(GrantStatus::Active),
        None,
        Some(GrantStatus::NeedsReauth),
        Some(GrantStatus::Paused),
    ];
    assert_eq!(store.statuses(&asked).await.unwrap(), statuses);
    assert_eq!(store.statuses(&[]).await.unwrap(), []);
}

async fn due_grants_are_counted_up_to_a_limit() {
    let (store, ids) = with(5).await;
    let p = "p".parse().unwrap();
    assert_eq!(store.count_due(&p, 100).await.unwrap(), 5);
    assert_eq!(store.count_due(&p, 3).await.unwrap(), 3);
    assert_eq!(store.count_due(&p, 0).await.unwrap(), 0);
    store.mark_queued(&ids[..1], LEASE).await.unwrap();
    store.change_grant(&ids[1], GrantChange::Pause).await.unwrap();
    assert_eq!(store.count_due(&p, 100).await.unwrap(), 3);
    assert_eq!(store.count_due(&"q".parse().unwrap(), 100).await.unwrap(), 0);
}

async fn a_paused_grant_is_inactive_until_resumed() {
    let (store, ids) = with(2).await;
    store.mark_queued(&ids[..1], LEASE).await.unwrap();
    assert_eq!(
        store.change_grant(&ids[0], GrantChange::Pause).await.unwrap(),
        ChangeResult::Applied
    );
    assert_eq!(due(&*store, DueSelection::All).await.len(), 1);
    assert_eq!(owned(&claim(&*store, &ids, "o").await), [false, true]);
    assert_eq!(store.reactivate(&ids[0], LEASE).await.unwrap(), None);
    assert_eq!(
        store.change_grant(&ids[0], GrantChange::Resume).await.unwrap(),
        ChangeResult::Applied
    );
    let resumed = view(&*store, &ids[0]).await;
    assert_eq!((resumed.status, resumed.queued_until), (Some(GrantStatus::Active), None));
    assert_eq!(due(&*store, DueSelection::Due).await.len(), 2);
    assert_eq!(owned(&claim(&*store, &ids[..1], "next").await), [true]);
}

async fn a_refresh_during_a_pause_writes_its_tokens() {
    let (store, ids) = with(3).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    store.change_grant(&ids[1], GrantChange::Pause).await.unwrap();
    let commits: Vec<_> = claimed
        .rows
        .iter()
        .map(|row| Commit::of_grant(grant(row), "o", refreshed("a", Some("new"), claimed.now)))
        .collect();
    let all = vec![CommitResult::Applied; 3];
    assert_eq!(store.commit(&commits).await.unwrap(), all);
    assert_eq!(store.commit(&commits).await.unwrap(), all, "once more");
    let statuses = futures::future::join_all(ids.iter().map(|id| view(&*store, id))).await;
    let seen: Vec<_> = statuses.iter().map(|view| (view.status, view.generation)).collect();
    let (active, paused) = (Some(GrantStatus::Active), Some(GrantStatus::Paused));
    assert_eq!(seen, [(active, 1), (paused, 1), (active, 1)]);
    assert!(statuses.iter().all(|view| view.leased_until.is_none()));
    assert!(exported(&*store).await.iter().all(|document| document["refresh_token"] == "new"));
}

async fn a_death_under_way_ends_a_paused_grant() {
    let (store, ids) = with(2).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    for id in &ids {
        store.change_grant(id, GrantChange::Pause).await.unwrap();
    }
    commit(&*store, &claimed.rows[0], "o", ended(claimed.now)).await;
    commit(&*store, &claimed.rows[1], "o", postponed(claimed.now)).await;
    assert_eq!(view(&*store, &ids[0]).await.status, Some(GrantStatus::NeedsReauth));
    assert_eq!(view(&*store, &ids[1]).await.status, Some(GrantStatus::Paused));
}

async fn only_active_grants_are_paused_and_only_paused_ones_resumed() {
    let (store, ids) = with(2).await;
    let claimed = claim_for(&*store, &ids[..1], "o", LEASE).await;
    commit(&*store, &claimed.rows[0], "o", ended(claimed.now)).await;
    let dead = ChangeResult::NotIn(Some(GrantStatus::NeedsReauth));
    assert_eq!(store.change_grant(&ids[0], GrantChange::Pause).await.unwrap(), dead);
    let active = ChangeResult::NotIn(Some(GrantStatus::Active));
    assert_eq!(store.change_grant(&ids[1], GrantChange::Resume).await.unwrap(), active);
    for change in [GrantChange::Pause, GrantChange::Resume, GrantChange::Forget] {
        let nobody = DocumentId::Integer(404);
        assert_eq!(store.change_grant(&nobody, change).await.unwrap(), ChangeResult::Absent);
    }
}

async fn a_forgotten_grants_document_is_adopted_again() {
    let (store, ids) = with(1).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    commit(&*store, &claimed.rows[0], "o", refreshed("a", Some("new"), claimed.now)).await;
    assert_eq!(
        store.change_grant(&ids[0], GrantChange::Forget).await.unwrap(),
        ChangeResult::Applied
    );
    let documents = exported(&*store).await;
    assert_eq!(documents[0]["refresh_token"], "new");
    assert_eq!(documents[0].get("evergrant"), None);
    assert_eq!(view(&*store, &ids[0]).await.status, None);
    assert!(due(&*store, DueSelection::All).await.is_empty());
    assert_eq!(store.adopt().await.unwrap(), 1);
    assert_eq!(view(&*store, &ids[0]).await.generation, 0);
}

async fn nothing_is_forgotten_while_an_answer_may_come() {
    let (store, ids) = with(1).await;
    let claimed = claim_for(&*store, &ids, "o", LEASE).await;
    assert_eq!(
        store.change_grant(&ids[0], GrantChange::Forget).await.unwrap(),
        ChangeResult::UnderWay
    );
    commit(&*store, &claimed.rows[0], "o", refreshed("a", Some("new"), claimed.now)).await;
    assert_eq!(
        store.change_grant(&ids[0], GrantChange::Forget).await.unwrap(),
        ChangeResult::Applied
    );
}
