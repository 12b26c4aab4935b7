//! Bulk actions with the adapters in memory.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evergrant_domain::audit::{ActionOutcome, AuditEntry, AuditFilter};
use evergrant_domain::ladder::Ladder;
use evergrant_domain::{
    DeadLetter, DeadReason, DocumentId, GrantStatus, Job, ProviderId, Timestamp,
};
use evergrant_memory::{MemoryBroker, MemoryClock, MemoryQueue, MemoryQueueSettings, MemoryStore};
use evergrant_ports::{
    DueStore, GrantAdmin, GrantChange, ImportDocument, JobPublisher, JobQueue, OperationsLog,
    StoreClock, TransferStore, WorkQueue,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{BulkActions, BulkEnd, BulkKind, BulkRequest, ResumeError};
use crate::letters::{LetterFilter, LetterQueues};

const START: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

fn provider() -> ProviderId {
    "p".parse().unwrap()
}

/// Failed grants 1 to `count`, with their letters.
struct Scene {
    bulk: BulkActions,
    store: Arc<MemoryStore>,
    queue: Arc<MemoryQueue>,
}

impl Scene {
    async fn with(count: i64) -> Self {
        let clock = MemoryClock::starting_at(START);
        let store = Arc::new(MemoryStore::new(clock, Some(provider())));
        let ladder = Ladder::new(vec![Duration::from_secs(1)]).unwrap();
        let settings = MemoryQueueSettings { providers: vec![provider()], shards: 1, ladder };
        let queue = Arc::new(MemoryBroker::new(settings, clock).connect());
        let letters = LetterQueues {
            store: store.clone(),
            queue: queue.clone(),
            providers: vec![provider()],
        };
        let scene = Self {
            bulk: BulkActions { letters, queued_for: Duration::from_secs(60) },
            store,
            queue,
        };
        for id in 1..=count {
            scene.die(id).await;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        scene
    }

    /// Fails a grant.
    async fn die(&self, id: i64) {
        let json = json!({ "_id": id, "userId": format!("u{id}"), "refresh_token": "t" });
        let document = ImportDocument(json.as_object().unwrap().clone());
        self.store.import(vec![document]).await.unwrap();
        self.store.adopt().await.unwrap();
        let id = DocumentId::Integer(id);
        self.store.edit(&id, "evergrant.status", Some(json!("needs_reauth"))).unwrap();
        self.queue.bury(&self.letter(id, DeadReason::GrantDead).await).await.unwrap();
    }

    async fn letter(&self, id: DocumentId, reason: DeadReason) -> DeadLetter {
        let now = self.store.now().await.unwrap();
        let job = Job::new(provider(), id.clone(), 0, now);
        DeadLetter {
            body: job.encode(),
            provider: provider(),
            id: Some(id),
            reason,
            http_status: Some(400),
            code: Some("invalid_grant".to_owned()),
            description: None,
            attempts: 1,
            first_failed_at: now,
            last_failed_at: now,
            redrive_count: 0,
            worker: None,
        }
    }

    async fn redrive(&self) -> BulkRequest {
        let cutoff = self.bulk.cutoff().await.unwrap();
        BulkRequest::new(BulkKind::Redrive, LetterFilter::default(), cutoff)
    }

    async fn begin(&self, request: &BulkRequest) -> AuditEntry {
        let (who, why) = ("ann@host".to_owned(), "a test".to_owned());
        self.bulk.begin(who, why, request, None).await.unwrap()
    }

    async fn run(&self, request: &BulkRequest) -> BulkEnd {
        let entry = self.begin(request).await;
        self.bulk.run(&entry, request, |_| {}, &CancellationToken::new()).await
    }

    async fn active(&self) -> u64 {
        let counts = self.store.count_grants().await.unwrap();
        let active = counts.iter().filter(|count| count.status == Some(GrantStatus::Active));
        active.map(|count| count.count).sum()
    }

    async fn dead_letters(&self) -> u64 {
        self.queue.dead_letters(&provider()).await.unwrap().cutoff()
    }

    async fn queued(&self) -> u64 {
        self.queue.depth(&provider()).await.unwrap()
    }

    async fn last_entry(&self) -> AuditEntry {
        let filter = AuditFilter { limit: 1, ..AuditFilter::default() };
        self.store.audit(&filter).await.unwrap().remove(0)
    }
}

#[tokio::test(start_paused = true)]
async fn counted_letters_are_redriven_once_and_recorded() {
    let scene = Scene::with(5).await;
    let request = scene.redrive().await;
    let counted = scene.bulk.count(&request).await.unwrap();
    assert_eq!((counted.matched, scene.dead_letters().await), (5, 5));
    assert_eq!(scene.active().await, 0, "counting changes nothing");

    let ended = scene.run(&request).await;
    assert_eq!((ended.outcome, ended.tally.matched, ended.tally.done), (ActionOutcome::Done, 5, 5));
    assert_eq!((scene.active().await, scene.queued().await), (5, 5));
    assert_eq!(scene.dead_letters().await, 0);
    let entry = scene.last_entry().await;
    assert_eq!((entry.who.as_str(), entry.why.as_str()), ("ann@host", "a test"));
    assert_eq!((entry.progress.outcome, entry.progress.done), (ActionOutcome::Done, 5));
    assert_eq!(BulkRequest::from_entry(&entry), Some(request));
}

#[tokio::test(start_paused = true)]
async fn letters_after_the_cutoff_are_not_included() {
    let scene = Scene::with(3).await;
    let request = scene.redrive().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    scene.die(4).await;
    let ended = scene.run(&request).await;
    assert_eq!((ended.tally.matched, scene.dead_letters().await), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn user_filters_choices_and_limits_leave_other_letters() {
    let scene = Scene::with(5).await;
    let all = scene.redrive().await;
    let user = LetterFilter { user: Some("u3".to_owned()), ..LetterFilter::default() };
    let ended = scene.run(&BulkRequest { filter: user, ..all.clone() }).await;
    assert_eq!((ended.tally.done, scene.dead_letters().await), (1, 4));
    let nobody = LetterFilter { user: Some("nobody".to_owned()), ..LetterFilter::default() };
    let ended = scene.run(&BulkRequest { filter: nobody, ..all.clone() }).await;
    assert_eq!((ended.outcome, scene.dead_letters().await), (ActionOutcome::Nothing, 4));
    let picked = [1, 404].map(DocumentId::Integer).into();
    let ended = scene.run(&BulkRequest { picked, ..all.clone() }).await;
    assert_eq!((ended.tally.done, scene.dead_letters().await), (1, 3));
    let ended = scene.run(&BulkRequest { limit: Some(2), ..all }).await;
    assert_eq!((ended.tally.done, scene.dead_letters().await), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn letters_that_cannot_be_redriven_stay_and_are_reported() {
    let scene = Scene::with(3).await;
    scene.store.edit(&DocumentId::Integer(1), "evergrant.status", Some(json!("active"))).unwrap();
    scene.store.change_grant(&DocumentId::Integer(1), GrantChange::Pause).await.unwrap();
    let gone = scene.letter(DocumentId::Integer(404), DeadReason::GrantDead).await;
    let no_job = scene.letter(DocumentId::Integer(2), DeadReason::MalformedJob).await;
    for letter in [gone, no_job] {
        scene.queue.bury(&letter).await.unwrap();
    }
    let ended = scene.run(&scene.redrive().await).await;
    assert_eq!(
        (ended.outcome, ended.tally.matched, ended.tally.done),
        (ActionOutcome::Partial, 5, 2)
    );
    assert_eq!((ended.tally.left_no_document, ended.tally.left_no_job), (2, 1));
    let entry = scene.last_entry().await;
    assert_eq!((entry.progress.left, scene.dead_letters().await), (3, 3));
    assert!(entry.progress.detail.contains("discard them"), "{}", entry.progress.detail);

    let discard = BulkRequest { kind: BulkKind::Discard, ..scene.redrive().await };
    let ended = scene.run(&discard).await;
    assert_eq!((ended.outcome, ended.tally.done), (ActionOutcome::Done, 3));
    assert_eq!((scene.dead_letters().await, scene.queued().await), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_action_ends_after_a_letter_and_resumes() {
    let scene = Scene::with(10).await;
    let request = BulkRequest { limit: Some(8), ..scene.redrive().await };
    let (entry, stop) = (scene.begin(&request).await, CancellationToken::new());
    let seen = AtomicU64::new(0);
    let cancel_at_three = |tally: &super::BulkTally| {
        seen.store(tally.done, Ordering::Relaxed);
        if tally.done == 3 {
            stop.cancel();
        }
    };
    let ended = scene.bulk.run(&entry, &request, cancel_at_three, &stop).await;
    assert_eq!((ended.outcome, ended.tally.done), (ActionOutcome::Cancelled, 3));
    assert_eq!((seen.load(Ordering::Relaxed), scene.dead_letters().await), (3, 7));

    let (_, rest) = scene.bulk.rest_of(&entry.id).await.unwrap();
    assert_eq!((rest.limit, rest.resumes.as_ref()), (Some(5), Some(&entry.id)));
    let next = scene.begin(&rest).await;
    scene.bulk.hand_over(&entry, &next).await.unwrap();
    let ended = scene.bulk.run(&next, &rest, |_| {}, &CancellationToken::new()).await;
    assert_eq!((ended.outcome, ended.tally.done), (ActionOutcome::Done, 5));
    assert_eq!((scene.active().await, scene.dead_letters().await), (8, 2));
    let over = scene.bulk.rest_of(&next.id).await.unwrap_err();
    assert!(matches!(over, ResumeError::Over("done")), "{over}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_action_resumes_and_a_running_one_does_not() {
    let scene = Scene::with(4).await;
    let request = scene.redrive().await;
    let entry = scene.begin(&request).await;
    let under_way = scene.bulk.rest_of(&entry.id).await.unwrap_err();
    assert!(matches!(under_way, ResumeError::UnderWay), "{under_way}");
    let unknown = scene.bulk.rest_of("nonsense").await.unwrap_err();
    assert!(matches!(unknown, ResumeError::Unknown(_)), "{unknown}");
    tokio::time::advance(Duration::from_secs(31)).await;
    // Another one has died since: it is not included.
    scene.die(5).await;
    let (died, rest) = scene.bulk.rest_of(&entry.id).await.unwrap();
    assert_eq!(died.outcome(scene.store.now().await.unwrap()), ActionOutcome::Died);
    let ended = scene.run(&rest).await;
    assert_eq!((ended.tally.done, scene.dead_letters().await), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_bulk_action_waits_for_an_unavailable_broker() {
    let scene = Scene::with(6).await;
    let request = scene.redrive().await;
    let entry = scene.begin(&request).await;
    let cut_once = |tally: &super::BulkTally| {
        if tally.done == 2 {
            scene.queue.cut();
        }
    };
    let ended = scene.bulk.run(&entry, &request, cut_once, &CancellationToken::new()).await;
    assert!(ended.error.is_none(), "{:?}", ended.error);
    assert_eq!((ended.tally.matched, ended.tally.done), (6, 6));
    assert_eq!((scene.active().await, scene.dead_letters().await), (6, 0));
}

#[tokio::test]
async fn a_rate_is_kept() {
    // By the machine's clock, which the rate uses: 10 letters at 100 a second take 90 ms.
    let scene = {
        tokio::time::pause();
        let scene = Scene::with(10).await;
        tokio::time::resume();
        scene
    };
    let request = BulkRequest { per_second: NonZeroU32::new(100), ..scene.redrive().await };
    let began = std::time::Instant::now();
    let ended = scene.run(&request).await;
    assert_eq!(ended.tally.done, 10);
    assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn letters_of_revived_grants_are_separate() {
    let scene = Scene::with(5).await;
    for id in [2, 4] {
        let active = Some(json!("active"));
        scene.store.edit(&DocumentId::Integer(id), "evergrant.status", active).unwrap();
    }
    let answer = scene.letter(DocumentId::Integer(2), DeadReason::UncommittedAnswer).await;
    scene.queue.bury(&answer).await.unwrap();
    let groups = scene.bulk.letters.groups(&LetterFilter::default()).await.unwrap();
    let counts: Vec<_> = groups.groups.iter().map(|group| (group.reason, group.count)).collect();
    assert_eq!(counts, [(DeadReason::GrantDead, 3), (DeadReason::UncommittedAnswer, 1)]);
    assert_eq!(groups.left_out, 2);
    let revived = LetterFilter { revived: true, ..LetterFilter::default() };
    tokio::time::advance(Duration::from_secs(1)).await;
    let cutoff = scene.bulk.cutoff().await.unwrap();
    let discard = BulkRequest::new(BulkKind::Discard, revived, cutoff);
    assert_eq!(scene.bulk.count(&discard).await.unwrap().matched, 2);
    assert_eq!(scene.run(&discard).await.tally.done, 2);
    assert_eq!(scene.dead_letters().await, 4);
    let redriven = scene.run(&scene.redrive().await).await;
    assert_eq!((redriven.tally.matched, scene.active().await), (4, 5));
}

#[tokio::test(start_paused = true)]
async fn a_letter_with_new_tokens_is_discarded_only_on_request() {
    let scene = Scene::with(2).await;
    let uncommitted = scene.letter(DocumentId::Integer(1), DeadReason::UncommittedAnswer).await;
    scene.queue.bury(&uncommitted).await.unwrap();
    let cutoff = scene.bulk.cutoff().await.unwrap();
    let mut discard = BulkRequest::new(BulkKind::Discard, LetterFilter::default(), cutoff);
    let counted = scene.bulk.count(&discard).await.unwrap();
    assert_eq!((counted.matched, counted.left_uncommitted), (2, 1));
    let ended = scene.run(&discard).await;
    assert_eq!((ended.outcome, ended.tally.done), (ActionOutcome::Partial, 2));
    assert!(ended.tally.detail().contains("1 stay"), "{}", ended.tally.detail());
    assert_eq!(scene.dead_letters().await, 1);

    discard.uncommitted_answers = true;
    assert_eq!(scene.run(&discard).await.outcome, ActionOutcome::Done);
    assert_eq!(scene.dead_letters().await, 0);
}

#[tokio::test(start_paused = true)]
async fn letters_with_a_future_time_are_reported() {
    let scene = Scene::with(2).await;
    let mut ahead = scene.letter(DocumentId::Integer(9), DeadReason::GrantDead).await;
    ahead.last_failed_at = ahead.last_failed_at.plus(Duration::from_secs(60));
    scene.queue.bury(&ahead).await.unwrap();
    let ended = scene.run(&scene.redrive().await).await;
    assert_eq!((ended.outcome, ended.tally.done), (ActionOutcome::Done, 2));
    assert_eq!(ended.tally.left_after_cutoff, 1);
    assert!(ended.tally.detail().contains("clock"), "{}", ended.tally.detail());
}
