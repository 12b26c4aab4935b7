//! Each stage of a refresh in the embedded edition, alone.
//!
//! Through Evergrant's own adapters, in the batches of a worker: there is no server whose bare
//! client could be measured instead.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::{
    ClaimedDocument, DocumentId, DocumentWrite, FieldValues, Grant, Job, ProviderId,
};
use evergrant_ports::{
    Commit, CommitResult, Delivery, JobQueue, LeaseStore, QueueError, wall_clock,
};
use futures::FutureExt;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;

use crate::raw::{per_s, timed};

/// Concurrent batches of a stage: the writer thread makes one transaction of those that wait.
const BATCHES_AT_ONCE: usize = 4;
const LEASE: Duration = Duration::from_secs(25);
const HOUR: Duration = Duration::from_secs(3_600);

/// Delivers and acknowledges `count` jobs, a batch at a time; returns jobs a second, and the
/// documents in the order of their jobs.
pub(crate) async fn consume(
    queue: &dyn JobQueue,
    provider: &ProviderId,
    count: usize,
    prefetch: u16,
    batch: usize,
) -> anyhow::Result<(f64, Vec<DocumentId>)> {
    let started = Instant::now();
    let mut intake = queue.consume(provider, None, prefetch).await?;
    let mut bodies = Vec::with_capacity(count);
    let mut acknowledging = JoinSet::new();
    while bodies.len() < count {
        let mut deliveries = vec![intake.next().await.context("the consumer ended")?];
        while deliveries.len() < batch {
            let Some(Some(delivery)) = intake.next().now_or_never() else { break };
            deliveries.push(delivery);
        }
        let mut ackers = Vec::with_capacity(deliveries.len());
        for Delivery { body, acker, .. } in deliveries {
            bodies.push(body);
            ackers.push(acker);
        }
        acknowledging.spawn(async move {
            let acks = ackers.into_iter().map(|acker| acker.ack());
            futures::future::join_all(acks).await.into_iter().collect::<Result<(), QueueError>>()
        });
    }
    while let Some(acknowledged) = acknowledging.join_next().await {
        acknowledged.context("acknowledge")??;
    }
    let rate = per_s(count, started.elapsed());
    intake.stop().await;
    let id = |body: Vec<u8>| Job::decode_from(provider, &body).map(|job| job.id);
    let ids = bodies.into_iter().map(id).collect::<Result<Vec<_>, _>>();
    Ok((rate, ids.map_err(|_| anyhow!("a message is not a job"))?))
}

/// A claimed document and its owner.
pub(crate) type ClaimedBatch = (Grant, String);

/// Claims all of `ids`; returns claims a second.
pub(crate) async fn claim(
    store: Arc<dyn LeaseStore>,
    ids: &[DocumentId],
    batch: usize,
) -> anyhow::Result<(f64, Vec<ClaimedBatch>)> {
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    let round = ROUNDS.fetch_add(1, Ordering::Relaxed);
    let held = Arc::new(Mutex::new(Vec::with_capacity(ids.len())));
    let batches = ids.chunks(batch).map(<[DocumentId]>::to_vec).enumerate().collect();
    let holding = Arc::clone(&held);
    let claim = move |(number, ids): (usize, Vec<DocumentId>)| {
        let (store, holding) = (Arc::clone(&store), Arc::clone(&holding));
        async move {
            // A new owner for each round: a claim takes no document that it has settled.
            let owner = format!("bench-{round:08}/simulator/{number}");
            let rows = store.claim(&ids, &owner, LEASE).await?.rows;
            let mut holding = holding.lock().unwrap_or_else(PoisonError::into_inner);
            for row in rows {
                let ClaimedDocument::Present { grant, owned: true, .. } = row else { continue };
                holding.push((grant, owner.clone()));
            }
            anyhow::Ok(())
        }
    };
    let rate = per_s(ids.len(), timed(batches, BATCHES_AT_ONCE, claim).await?);
    let held = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
    ensure!(held.len() == ids.len(), "only {} of {} were claimed", held.len(), ids.len());
    Ok((rate, held))
}

/// Writes new tokens to all claimed documents; returns commits a second.
pub(crate) async fn commit(
    store: Arc<dyn LeaseStore>,
    held: &[ClaimedBatch],
    batch: usize,
) -> anyhow::Result<f64> {
    let commits: Vec<Commit> =
        held.iter().map(|(grant, owner)| Commit::of_grant(grant, owner, refresh(grant))).collect();
    let batches = commits.chunks(batch).map(<[Commit]>::to_vec).collect();
    let commit = move |commits: Vec<Commit>| {
        let store = Arc::clone(&store);
        async move {
            let written = store.commit(&commits).await?;
            let all = written.iter().all(|committed| *committed == CommitResult::Applied);
            ensure!(all, "not all commits found their document");
            anyhow::Ok(())
        }
    };
    Ok(per_s(held.len(), timed(batches, BATCHES_AT_ONCE, commit).await?))
}

/// New tokens of the same length as the old one.
fn refresh(grant: &Grant) -> DocumentWrite {
    let token: String = grant.refresh_token.expose_secret().chars().rev().collect();
    let now = wall_clock();
    DocumentWrite::Refresh {
        access_token: SecretString::from(token.clone()),
        refresh_token: Some(SecretString::from(token)),
        refreshed_at: now,
        times: RefreshTimes {
            access_expires_at: now.plus(HOUR),
            access_is_assumed: false,
            refresh_idle_until: Some(now.plus(HOUR * 336)),
            refresh_absolute_until: None,
            next_refresh_at: now.plus(HOUR * 168),
        },
        also: FieldValues::new(),
    }
}
