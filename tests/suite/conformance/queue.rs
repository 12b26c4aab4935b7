//! Tests of every [`JobQueue`], including RabbitMQ in each supported version.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evergrant_domain::shard::shard_of;
use evergrant_domain::{DeadLetter, DeadReason, DocumentId, Job, ProviderId, Timestamp};
use evergrant_ports::{
    Delivery, DeliveryStream, JobPublisher, JobQueue, QueueError, WorkQueue, wall_clock,
};
use evergrant_rabbitmq::{RabbitQueue, RabbitSettings};
use evergrant_testkit::deployment::eventually;
use evergrant_testkit::fault_proxy::FaultProxy;
use evergrant_testkit::rabbitmq;
use lapin::options::{
    BasicGetOptions, BasicRejectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;

use super::adapters::{ladder, on_each_queue};

on_each_queue!(
    preparing_twice_is_the_same_as_once,
    an_unacknowledged_message_is_redelivered,
    thousands_of_jobs_are_published_and_all_arrive,
    a_consumer_takes_only_its_shards,
    a_consumer_holds_no_more_than_its_prefetch,
    a_retry_returns_after_its_delay,
    a_retry_does_not_wait_behind_new_jobs,
    a_dead_letter_keeps_its_message_and_all_fields,
    browsing_thirty_times_changes_nothing,
    removed_letters_are_gone_and_the_rest_keeps_order,
    a_look_ends_at_its_cutoff,
    concurrent_browses_see_all_letters,
    thousands_of_dead_letters_are_each_seen_once,
    a_stopped_consumer_still_acknowledges_what_it_handed_out,
    a_job_without_a_queue_is_an_error,
    concurrent_publishers_get_their_own_results,
);

/// Runs every test of this list on both versions of RabbitMQ.
macro_rules! on_each_version {
    ($($name:ident),* $(,)?) => {
        mod on_rabbitmq_3 {
            use crate::conformance::adapters::rabbitmq_3;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(rabbitmq_3().await).await; })*
        }
        mod on_rabbitmq_4 {
            use crate::conformance::adapters::rabbitmq_4;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(rabbitmq_4().await).await; })*
        }
    };
}

on_each_version!(
    a_deleted_queue_ends_its_consumer_and_is_declared_again,
    any_operation_declares_a_deleted_queue_again,
    a_queue_with_other_arguments_is_named,
    a_wrong_login_or_port_is_reported_without_the_password,
    a_missing_virtual_host_is_reported,
    letters_of_the_broker_and_foreign_ones_are_distinguished,
    a_lost_connection_is_rebuilt_without_losing_jobs,
    a_dead_queue_of_several_blocks_keeps_its_order,
    concurrent_browses_of_processes_see_all_letters,
    a_browse_during_a_removal_sees_the_rest,
    an_unusable_queue_delays_no_other,
    queues_of_former_shards_are_consumed,
);

/// An empty queue, and its URL if it is at a server.
pub(super) struct Case {
    url: String,
    prefix: String,
    pub(super) queue: Arc<dyn JobQueue>,
}

pub(crate) fn provider() -> ProviderId {
    "p".parse().unwrap()
}

pub(crate) fn settings(url: &str, prefix: &str) -> RabbitSettings {
    RabbitSettings {
        url: url.into(),
        prefix: prefix.to_owned(),
        providers: vec![provider()],
        shards: 2,
        ladder: ladder(),
        connection_name: "conformance".to_owned(),
        connect_timeout: Duration::from_secs(10),
        confirm_timeout: Duration::from_secs(15),
    }
}

impl Case {
    pub(super) async fn new(url: String, prefix: String, queue: Arc<dyn JobQueue>) -> Self {
        queue.prepare().await.unwrap();
        Self { url, prefix, queue }
    }

    async fn consume(&self, prefetch: u16) -> Box<dyn DeliveryStream> {
        self.queue.consume(&provider(), None, prefetch).await.unwrap()
    }

    async fn publish(&self, ids: std::ops::Range<i64>) {
        self.queue.publish(&ids.map(job).collect::<Vec<_>>()).await.unwrap();
    }

    async fn bury(&self, ids: std::ops::Range<i64>) {
        for id in ids {
            self.queue.bury(&letter(id)).await.unwrap();
        }
    }

    /// Their ids, oldest first.
    async fn bury_fifty(&self) -> Vec<DocumentId> {
        self.bury(0..50).await;
        self.until_buried(50).await;
        (0..50).map(DocumentId::Integer).collect()
    }

    /// In any order.
    async fn bury_many(&self, ids: std::ops::Range<i64>) {
        let letters: Vec<DeadLetter> = ids.map(letter).collect();
        let buried = letters.iter().map(|letter| self.queue.bury(letter));
        for result in futures::future::join_all(buried).await {
            result.unwrap();
        }
    }

    /// Deletes queues without the adapter.
    async fn delete(&self, names: &[&str]) {
        let channel = rabbitmq::channel(&self.url).await;
        for name in names {
            let queue = format!("{}.{name}", self.prefix);
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
    }

    /// The same queues in another process.
    async fn other_process(&self) -> Self {
        let settings = settings(&self.url, &self.prefix);
        let queue = Arc::new(RabbitQueue::connect_lazily(settings));
        Self::new(self.url.clone(), self.prefix.clone(), queue).await
    }

    async fn looked_at(&self) -> Vec<DocumentId> {
        self.look_at(usize::MAX).await
    }

    /// The oldest letters, at most this many.
    async fn look_at(&self, most: usize) -> Vec<DocumentId> {
        let mut letters = self.queue.dead_letters(&provider()).await.unwrap();
        letters.browse_only();
        let mut ids = Vec::new();
        while ids.len() < most
            && let Some(letter) = letters.next().await.unwrap()
        {
            ids.extend(letter.id);
        }
        letters.close().await.unwrap();
        ids
    }

    async fn until_buried(&self, count: usize) {
        eventually("all letters are there", || async { self.looked_at().await.len() == count })
            .await;
    }
}

pub(super) fn job(id: i64) -> Job {
    Job::new(provider(), DocumentId::Integer(id), 0, Timestamp::from_unix_ms(0))
}

fn letter(id: i64) -> DeadLetter {
    DeadLetter {
        body: job(id).encode(),
        provider: provider(),
        id: Some(DocumentId::Integer(id)),
        reason: DeadReason::GrantDead,
        http_status: Some(400),
        code: Some("invalid_grant".into()),
        description: Some("Token has been expired or revoked.".into()),
        attempts: 2,
        first_failed_at: Timestamp::from_unix_ms(1_700_000_000_123),
        last_failed_at: Timestamp::from_unix_ms(1_700_000_005_456),
        redrive_count: 1,
        worker: Some("worker-1".into()),
    }
}

/// The next delivery, in bounded time.
pub(super) async fn next(intake: &mut dyn DeliveryStream) -> Delivery {
    let delivery = tokio::time::timeout(Duration::from_secs(20), intake.next()).await;
    delivery.expect("a delivery in time").expect("the consumer goes on")
}

fn id_of(delivery: &Delivery) -> DocumentId {
    Job::decode(&delivery.body).unwrap().id
}

async fn preparing_twice_is_the_same_as_once(case: Case) {
    case.queue.prepare().await.unwrap();
    let findings = case.queue.inspect().await.unwrap();
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding.ok), "{findings:?}");
}

async fn an_unacknowledged_message_is_redelivered(case: Case) {
    case.publish(1..2).await;
    let mut intake = case.consume(10).await;
    let first = next(&mut *intake).await;
    assert!(!first.redelivered);
    drop((first, intake));
    let mut intake = case.consume(10).await;
    let again = next(&mut *intake).await;
    assert!(again.redelivered);
    again.acker.ack().await.unwrap();
    eventually("the queue is empty", || async {
        case.queue.depth(&provider()).await.unwrap() == 0
    })
    .await;
}

async fn thousands_of_jobs_are_published_and_all_arrive(case: Case) {
    case.publish(0..3_000).await;
    let mut intake = case.consume(500).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 3_000 {
        let delivery = next(&mut *intake).await;
        assert!(seen.insert(id_of(&delivery)), "twice");
        delivery.acker.ack().await.unwrap();
    }
}

async fn a_consumer_takes_only_its_shards(case: Case) {
    case.publish(0..40).await;
    let expected: BTreeSet<_> =
        (0..40).map(DocumentId::Integer).filter(|id| shard_of(id, 2) == 1).collect();
    let mut intake = case.queue.consume(&provider(), Some(&[1]), 100).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < expected.len() {
        let delivery = next(&mut *intake).await;
        seen.insert(id_of(&delivery));
        delivery.acker.ack().await.unwrap();
    }
    assert_eq!(seen, expected);
    let rest = 40 - expected.len() as u64;
    eventually("the other shard is untouched", || async {
        case.queue.depth(&provider()).await.unwrap() == rest
    })
    .await;
}

async fn a_consumer_holds_no_more_than_its_prefetch(case: Case) {
    case.publish(0..20).await;
    let mut intake = case.consume(4).await;
    let mut held = Vec::new();
    while let Ok(Some(delivery)) =
        tokio::time::timeout(Duration::from_millis(700), intake.next()).await
    {
        held.push(delivery);
    }
    // A part of the prefetch is kept for retries.
    assert!((2..=4).contains(&held.len()), "{}", held.len());
}

async fn a_retry_does_not_wait_behind_new_jobs(case: Case) {
    case.queue.retry(&job(1_000), Duration::from_millis(200)).await.unwrap();
    case.publish(0..500).await;
    eventually("it is back", || async { case.queue.depth(&provider()).await.unwrap() == 501 })
        .await;
    let mut intake = case.consume(20).await;
    let mut before = 0;
    while id_of(&next(&mut *intake).await) != DocumentId::Integer(1_000) {
        before += 1;
    }
    assert!(before < 20, "{before} came before it");
}

async fn a_retry_returns_after_its_delay(case: Case) {
    let (job, delay) = (Job { redrive_count: 7, ..job(5) }, Duration::from_secs(1));
    let mut intake = case.consume(10).await;
    let sent = Instant::now();
    case.queue.retry(&job, delay).await.unwrap();
    let delivery = next(&mut *intake).await;
    assert!(sent.elapsed() >= delay, "{:?}", sent.elapsed());
    assert_eq!(Job::decode(&delivery.body).unwrap(), job);
}

async fn a_dead_letter_keeps_its_message_and_all_fields(case: Case) {
    let nonsense = DeadLetter {
        body: vec![0, 159, 255, b'{'],
        id: None,
        reason: DeadReason::MalformedJob,
        http_status: None,
        code: None,
        ..letter(0)
    };
    for letter in [letter(1), nonsense] {
        case.queue.bury(&letter).await.unwrap();
        let mut letters = case.queue.dead_letters(&provider()).await.unwrap();
        assert_eq!(letters.cutoff(), 1);
        assert_eq!(letters.next().await.unwrap(), Some(letter));
        letters.remove().await.unwrap();
        assert_eq!(letters.next().await.unwrap(), None);
        letters.close().await.unwrap();
    }
}

async fn browsing_thirty_times_changes_nothing(case: Case) {
    let expected = case.bury_fifty().await;
    for look in 1..=30 {
        assert_eq!(case.looked_at().await, expected, "look {look}");
    }
}

async fn removed_letters_are_gone_and_the_rest_keeps_order(case: Case) {
    case.bury(0..20).await;
    case.until_buried(20).await;
    let mut letters = case.queue.dead_letters(&provider()).await.unwrap();
    for number in 0..10 {
        letters.next().await.unwrap().unwrap();
        if number % 2 == 0 {
            letters.remove().await.unwrap();
        }
    }
    letters.close().await.unwrap();
    let expected: Vec<_> =
        (0..20).filter(|n| *n >= 10 || n % 2 == 1).map(DocumentId::Integer).collect();
    eventually("the rest is there in order", || async { case.looked_at().await == expected }).await;
}

async fn thousands_of_dead_letters_are_each_seen_once(case: Case) {
    case.bury_many(0..2_500).await;
    case.until_buried(2_500).await;
    let seen = case.looked_at().await;
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 2_500);
    // They arrived in any order, but keep it.
    assert_eq!(case.looked_at().await, seen);
    // The rest also keeps it when half of them are removed.
    let mut letters = case.queue.dead_letters(&provider()).await.unwrap();
    for number in 0..2_200 {
        letters.next().await.unwrap().unwrap();
        if number % 2 == 0 {
            letters.remove().await.unwrap();
        }
    }
    letters.close().await.unwrap();
    let kept = seen.into_iter().enumerate().filter(|(at, _)| *at >= 2_200 || at % 2 == 1);
    assert_eq!(case.looked_at().await, kept.map(|(_, id)| id).collect::<Vec<_>>());
}

/// Each consumer takes 5,000, and each fills while the previous one is being read.
async fn a_dead_queue_of_several_blocks_keeps_its_order(case: Case) {
    for thousands in 0..25 {
        case.bury_many(thousands * 1_000..(thousands + 1) * 1_000).await;
    }
    let seen = case.looked_at().await;
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 25_000);
    for most in [5_000, 21_000] {
        assert!(case.look_at(most).await == seen[..most], "{most}");
    }
    assert!(case.looked_at().await == seen, "the order is another one");
}

async fn a_look_ends_at_its_cutoff(case: Case) {
    case.bury(0..3).await;
    case.until_buried(3).await;
    let mut letters = case.queue.dead_letters(&provider()).await.unwrap();
    case.bury(3..6).await;
    let mut seen = 0;
    while letters.next().await.unwrap().is_some() {
        seen += 1;
    }
    assert_eq!(seen, 3);
}

async fn concurrent_browses_see_all_letters(case: Case) {
    let expected = case.bury_fifty().await;
    let looks = (0..8).map(|_| case.looked_at());
    for seen in futures::future::join_all(looks).await {
        assert_eq!(seen, expected);
    }
    assert_eq!(case.looked_at().await, expected, "the order is another one");
}

/// Each with its own connection.
async fn concurrent_browses_of_processes_see_all_letters(case: Case) {
    let expected = case.bury_fifty().await;
    let others = futures::future::join_all((0..4).map(|_| case.other_process())).await;
    let look = async |other: &Case| {
        for _ in 0..5 {
            assert_eq!(other.looked_at().await, expected);
        }
    };
    futures::future::join_all(others.iter().map(look)).await;
}

/// More than the first consumer takes, so another is opened while others browse.
async fn a_browse_during_a_removal_sees_the_rest(case: Case) {
    case.bury_many(0..12_000).await;
    case.until_buried(12_000).await;
    let other = case.other_process().await;
    let mut letters = case.queue.dead_letters(&provider()).await.unwrap();
    let (mut met, mut seen_meanwhile) = (0, Vec::new());
    while letters.next().await.unwrap().is_some() {
        letters.remove().await.unwrap();
        met += 1;
        if met % 1_000 == 0 {
            seen_meanwhile.push(other.looked_at().await.len());
        }
    }
    letters.close().await.unwrap();
    assert_eq!(met, 12_000);
    // By then 1,000 are removed, and 5,000 held.
    assert_eq!(seen_meanwhile[0], 6_000);
    assert_eq!(other.looked_at().await, []);
}

const SHARDS: [&str; 2] = ["refresh.p.0", "refresh.p.1"];

async fn a_deleted_queue_ends_its_consumer_and_is_declared_again(case: Case) {
    let mut intake = case.consume(10).await;
    case.delete(&SHARDS).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), intake.next()).await;
    assert!(ended.expect("it ends").is_none());
    let mut intake = case.consume(10).await;
    case.publish(1..2).await;
    assert_eq!(id_of(&next(&mut *intake).await), DocumentId::Integer(1));
}

async fn any_operation_declares_a_deleted_queue_again(case: Case) {
    case.delete(&SHARDS).await;
    assert_eq!(case.queue.depth(&provider()).await.unwrap(), 0);
    case.delete(&SHARDS).await;
    case.publish(1..2).await;
    case.delete(&["retry.200"]).await;
    case.queue.retry(&job(2), Duration::from_millis(200)).await.unwrap();
    let mut intake = case.consume(10).await;
    let seen = [next(&mut *intake).await, next(&mut *intake).await].map(|found| id_of(&found));
    assert_eq!(BTreeSet::from(seen), BTreeSet::from([1, 2].map(DocumentId::Integer)));
}

/// Another connection has exclusive access to it.
async fn an_unusable_queue_delays_no_other(case: Case) {
    case.delete(&SHARDS[1..]).await;
    let broken = format!("{}.{}", case.prefix, SHARDS[1]);
    let channel = rabbitmq::channel(&case.url).await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(broken.as_str().into(), options, FieldTable::default()).await.unwrap();

    let jobs: Vec<Job> = (0..40).map(job).collect();
    for (job, published) in jobs.iter().zip(case.queue.publish_each(&jobs).await) {
        assert_eq!(published.is_ok(), shard_of(&job.id, 2) == 0, "{published:?}");
    }
    let works = jobs.iter().filter(|job| shard_of(&job.id, 2) == 0).count();
    eventually("the depth is that of the other", || async {
        case.queue.depth(&provider()).await.unwrap() == works as u64
    })
    .await;
    let mut intake = case.consume(100).await;
    for _ in 0..works {
        next(&mut *intake).await.acker.ack().await.unwrap();
    }
    let missing: Vec<_> = intake.missing().into_iter().map(|(name, _)| name).collect();
    assert_eq!(missing.as_slice(), std::slice::from_ref(&broken));
    let findings = case.queue.inspect().await.unwrap();
    let wrong: Vec<_> = findings.iter().filter(|finding| !finding.ok).collect();
    assert!(wrong.len() == 1 && wrong[0].what.ends_with(&broken), "{wrong:?}");
}

async fn queues_of_former_shards_are_consumed(case: Case) {
    let of = |shards| {
        let settings = RabbitSettings { shards, ..settings(&case.url, &case.prefix) };
        RabbitQueue::connect_lazily(settings)
    };
    let (before, after) = (of(4), of(1));
    before.prepare().await.unwrap();
    before.publish(&(0..40).map(job).collect::<Vec<_>>()).await.unwrap();
    before.retry(&job(40), Duration::from_millis(200)).await.unwrap();
    let mut intake = after.consume(&provider(), None, 100).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 41 {
        let delivery = next(&mut *intake).await;
        seen.insert(id_of(&delivery));
        delivery.acker.ack().await.unwrap();
    }
    let findings = after.inspect().await.unwrap();
    let names: Vec<_> = findings.iter().map(|finding| finding.what.as_str()).collect();
    let former = format!("queue {}.refresh.p.3", case.prefix);
    assert!(names.contains(&former.as_str()), "{names:?}");
}

async fn a_stopped_consumer_still_acknowledges_what_it_handed_out(case: Case) {
    case.publish(0..10).await;
    let mut intake = case.consume(10).await;
    let held = next(&mut *intake).await;
    let id = id_of(&held);
    intake.stop().await;
    assert!(intake.next().await.is_none());
    held.acker.ack().await.unwrap();
    let mut other = case.consume(100).await;
    for _ in 0..9 {
        let delivery = next(&mut *other).await;
        assert_ne!(id_of(&delivery), id, "it was acknowledged");
        delivery.acker.ack().await.unwrap();
    }
}

async fn a_job_without_a_queue_is_an_error(case: Case) {
    let lost = Job { provider: "nobody".parse().unwrap(), ..job(1) };
    let error = case.queue.publish(&[job(2), lost]).await.unwrap_err();
    assert!(matches!(error, QueueError::Unconfirmed { .. }), "{error}");
    assert!(error.to_string().contains("nobody"), "{error}");
    case.publish(3..4).await;
}

async fn a_queue_with_other_arguments_is_named(case: Case) {
    let prefix = format!("{}-other", case.prefix);
    let name = format!("{prefix}.dead.p");
    let channel = rabbitmq::channel(&case.url).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();
    let queue = RabbitQueue::connect_lazily(settings(&case.url, &prefix));
    let error = queue.prepare().await.unwrap_err();
    let QueueError::Mismatch { name: named, .. } = &error else { panic!("{error}") };
    assert_eq!(*named, name);
}

async fn a_wrong_login_or_port_is_reported_without_the_password(case: Case) {
    let wrong_password = case.url.replace("guest:guest@", "guest:s3cret@");
    let wrong_port = "amqp://guest:s3cret@127.0.0.1:1".to_owned();
    for (url, expected) in [(wrong_password, "refuses"), (wrong_port, "not available")] {
        let error = RabbitQueue::connect_lazily(settings(&url, "x")).prepare().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected) && !text.contains("s3cret"), "{text}");
    }
}

async fn a_missing_virtual_host_is_reported(case: Case) {
    let (login, rest) = case.url.split_once('@').unwrap();
    let url = format!("{login}@{}/nowhere", rest.split('/').next().unwrap());
    let error = RabbitQueue::connect_lazily(settings(&url, "x")).prepare().await.unwrap_err();
    assert!(matches!(error, QueueError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("virtual host"), "{error}");
}

async fn concurrent_publishers_get_their_own_results(case: Case) {
    let queue = case.queue;
    let callers = (0..64).map(|id| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            if id % 8 == 0 {
                let lost = Job { provider: "nobody".parse().unwrap(), ..job(id) };
                let error = queue.retry(&lost, Duration::from_millis(200)).await.err();
                // The rung accepts it; only the broker finds out that it has no destination.
                assert!(error.is_none(), "{error:?}");
                queue.publish(&[lost]).await.is_err()
            } else {
                queue.publish(&[job(id)]).await.is_ok() && queue.bury(&letter(id)).await.is_ok()
            }
        })
    });
    for told in futures::future::join_all(callers).await {
        assert!(told.unwrap(), "a caller was told of another's message");
    }
    eventually("all jobs are there", || async { queue.depth(&provider()).await.unwrap() == 56 })
        .await;
}

async fn letters_of_the_broker_and_foreign_ones_are_distinguished(case: Case) {
    case.publish(1..2).await;
    let channel = rabbitmq::channel(&case.url).await;
    let work = format!("{}.refresh.p.{}", case.prefix, shard_of(&DocumentId::Integer(1), 2));
    eventually("the broker gives up", || async {
        let options = BasicGetOptions::default();
        while let Some(got) = channel.basic_get(work.as_str().into(), options).await.unwrap() {
            let requeue = BasicRejectOptions { requeue: true };
            assert!(got.delivery.acker.reject(requeue).await.unwrap());
        }
        !case.looked_at().await.is_empty()
    })
    .await;
    rabbitmq::send(&channel, &format!("{}.dead.p", case.prefix), b"\xffhello").await;
    let mut letters = case.queue.dead_letters(&provider()).await.unwrap();
    let moved = letters.next().await.unwrap().unwrap();
    assert_eq!((moved.reason, moved.id), (DeadReason::DeliveryLimit, Some(DocumentId::Integer(1))));
    assert_eq!(moved.body, job(1).encode());
    let age = wall_clock().since(moved.last_failed_at);
    assert!(age < Duration::from_secs(300), "{}", moved.last_failed_at);
    let strange = letters.next().await.unwrap().unwrap();
    assert_eq!((strange.reason, strange.id), (DeadReason::Broker, None));
    assert_eq!(strange.body, b"\xffhello");
}

async fn a_lost_connection_is_rebuilt_without_losing_jobs(case: Case) {
    let way = FaultProxy::to(&case.url);
    let queue = RabbitQueue::connect_lazily(settings(way.url(), &case.prefix));
    queue.publish(&[job(1)]).await.unwrap();
    let mut intake = queue.consume(&provider(), None, 10).await.unwrap();
    let held = next(&mut *intake).await;
    way.cut();
    let ended = tokio::time::timeout(Duration::from_secs(20), intake.next()).await;
    assert!(ended.expect("it ends").is_none());
    assert!(held.acker.ack().await.is_err());
    eventually("it publishes again", || async { queue.publish(&[job(2)]).await.is_ok() }).await;
    let mut intake = queue.consume(&provider(), None, 10).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let delivery = next(&mut *intake).await;
        seen.insert(id_of(&delivery));
        delivery.acker.ack().await.unwrap();
    }
    assert_eq!(seen, BTreeSet::from([1, 2].map(DocumentId::Integer)));
}

#[tokio::test]
async fn a_silent_broker_times_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("amqp://guest:s3cret@{}", listener.local_addr().unwrap());
    let settings =
        RabbitSettings { connect_timeout: Duration::from_millis(300), ..settings(&url, "x") };
    let began = Instant::now();
    let error = RabbitQueue::connect_lazily(settings).prepare().await.unwrap_err();
    assert!(matches!(error, QueueError::Unavailable { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3) && !error.to_string().contains("s3cret"));
}
