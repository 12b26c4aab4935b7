//! On-demand refreshes: jobs that come from a caller and not from a queue, and take the same way through
//! claim, permit, exchange and commit.
//!
//! All callers that wait for one document share one job (request coalescing). Across processes the lease does
//! the same: a second process finds the document leased, and its job ends with nothing done. A job whose
//! refresh fails for now goes to the retry ladder as all do, and a worker takes it from there when it is due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use evergrant_domain::{DocumentId, Job, ProviderId};
use evergrant_ports::{DeliveryAcker, QueueError};
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::lane::Lane;
use crate::pipeline::claim::claim;
use crate::pipeline::job_delivery::JobDelivery;
use crate::{WorkerCore, WorkerDeps, WorkerEnd};

/// Jobs of callers at once. A caller beyond that is told to come later.
const JOBS_MAX: usize = 2_000;

/// Refreshes grants when somebody asks for it.
pub struct OnDemandRefresher {
    lanes: HashMap<ProviderId, Arc<Lane>>,
    jobs: JobTable,
    core: WorkerCore,
    recovery: TaskTracker,
}

/// The jobs under way, by their documents.
type JobTable = Arc<Mutex<HashMap<DocumentId, JobEnd>>>;

/// Tells how a job has ended, once it has.
type JobEnd = watch::Receiver<Option<OnDemandResult>>;

/// What became of a caller's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDemandResult {
    /// The job has ended: the grant is refreshed, its failure is written, or another process has it in hand.
    /// The document tells which.
    Ended,
    /// Nothing was sent: too many jobs are under way, the broker takes none, or the process is ending.
    Busy,
}

impl OnDemandRefresher {
    /// A worker that consumes no work queue. It commits what was left in the journals, and takes answers from
    /// the rescue queue, as every worker does.
    pub fn start(deps: WorkerDeps) -> Self {
        let core = WorkerCore::start(deps);
        let by_provider = |lane: &Arc<Lane>| (lane.provider.id.clone(), Arc::clone(lane));
        let lanes = core.lanes.iter().map(by_provider).collect();
        let recovery = TaskTracker::new();
        core.recovery.iter().for_each(|task| drop(recovery.spawn(Arc::clone(task).run())));
        Self { lanes, jobs: JobTable::default(), core, recovery }
    }

    /// Has a grant refreshed and waits until its job has ended. A caller that gives up costs nothing, and the
    /// job goes on. None for a provider that is not served here.
    pub async fn refresh(&self, job: Job) -> Option<OnDemandResult> {
        let lane = self.lanes.get(&job.provider)?;
        let Some(mut ended) = self.join(lane, job) else { return Some(OnDemandResult::Busy) };
        let waiting = self.core.stop.run_until_cancelled(ended.wait_for(Option::is_some));
        // Without a word the job was dropped, which is an end as well.
        let told = waiting.await.map(|told| told.ok().and_then(|told| *told));
        Some(told.map_or(OnDemandResult::Busy, |told| told.unwrap_or(OnDemandResult::Ended)))
    }

    /// For how long nothing may be sent to a provider, as far as that is known.
    pub fn shut_for(&self, provider: &ProviderId) -> Option<Duration> {
        self.lanes.get(provider)?.budget.shut_for()
    }

    /// How long an access token of a provider is taken to be valid where its answers do not tell. None for a
    /// provider that is not served here.
    pub fn assumed_lifetime(&self, provider: &ProviderId) -> Option<Duration> {
        let lane = self.lanes.get(provider)?;
        Some(lane.provider.policy.schedule.access_lifetime)
    }

    /// Begins no job any more, and lets nobody wait.
    pub fn begin_stop(&self) {
        self.core.stop.cancel();
    }

    /// Finishes what was sent and gives back the rest.
    pub async fn stop(&self) -> WorkerEnd {
        self.begin_stop();
        let finished = async {
            for lane in self.lanes.values() {
                lane.jobs.close();
                lane.jobs.wait().await;
            }
            self.recovery.close();
            self.recovery.wait().await;
        };
        match tokio::time::timeout(self.core.settings.shutdown_grace, finished).await {
            Ok(()) => WorkerEnd::Cleanly,
            Err(_) => WorkerEnd::GraceOver,
        }
    }

    /// The end of the job that is under way for this document, which is `job` if there was none. None if no
    /// job may be begun.
    fn join(&self, lane: &Arc<Lane>, job: Job) -> Option<JobEnd> {
        let mut jobs = lock(&self.jobs);
        if let Some(ended) = jobs.get(&job.id) {
            return Some(ended.clone());
        }
        if jobs.len() >= JOBS_MAX || self.core.stop.is_cancelled() {
            return None;
        }
        let (tell, ended) = watch::channel(None);
        jobs.insert(job.id.clone(), ended.clone());
        drop(jobs);
        let result = OnDemandResult::Ended;
        let entry = JobEntry { id: job.id.clone(), jobs: Arc::clone(&self.jobs), tell, result };
        let lane = Arc::clone(lane);
        // Among the lane's jobs, so that the end of the process waits for it.
        lane.clone().jobs.spawn(async move {
            let mut entry = entry;
            entry.result = carry_out(&lane, job).await;
        });
        Some(ended)
    }
}

/// A job's place in the table. It is taken out, and its callers are told, however the job ends.
struct JobEntry {
    id: DocumentId,
    jobs: JobTable,
    tell: watch::Sender<Option<OnDemandResult>>,
    result: OnDemandResult,
}

impl Drop for JobEntry {
    fn drop(&mut self) {
        lock(&self.jobs).remove(&self.id);
        self.tell.send_replace(Some(self.result));
    }
}

fn lock(jobs: &JobTable) -> MutexGuard<'_, HashMap<DocumentId, JobEnd>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a job through the lane. It has ended when its delivery is acknowledged or dropped.
async fn carry_out(lane: &Arc<Lane>, job: Job) -> OnDemandResult {
    // A job that waits behind others is not claimed yet, so it holds no lease meanwhile.
    let flow_permit = tokio::select! {
        biased;
        () = lane.stop.cancelled() => return OnDemandResult::Busy,
        flow_permit = lane.flow.ahead.semaphore().acquire_owned() => flow_permit.ok(),
    };
    if !leave_a_job(lane, &job).await {
        return OnDemandResult::Busy;
    }
    let (acker, acknowledged) = oneshot::channel();
    let acker = Box::new(CallerAcker(acker));
    let work = JobDelivery { job, acker, redelivered: false, on_demand: true, flow_permit };
    claim(lane, vec![work]).await;
    let _ = acknowledged.await;
    OnDemandResult::Ended
}

/// Publishes a copy of the job that arrives when its lease is over. If this process dies over the job, that
/// copy takes the grant over, within a provider's grace; no other job would, since the grant may not be due. If
/// the grant is refreshed, the copy has nothing to do. False if the broker does not take it: then nothing is
/// sent.
async fn leave_a_job(lane: &Lane, job: &Job) -> bool {
    let copy = Job { waited: true, ..job.clone() };
    let delay = lane.provider.policy.ladder.at_least(lane.settings.lease);
    let published = lane.queue.retry(&copy, delay).await;
    let failed = published.inspect_err(|error| {
        tracing::warn!(%error, id = %job.id, "nothing is refreshed for callers: no job can be published");
    });
    failed.is_ok()
}

/// Tells the callers that their job has ended.
struct CallerAcker(oneshot::Sender<()>);

#[async_trait]
impl DeliveryAcker for CallerAcker {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        // Nobody waits any more: their caller has given up.
        let _ = self.0.send(());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::fakes::{FakeQueue, FakeStore, Fakes};

    #[tokio::test(start_paused = true)]
    async fn a_callers_refresh_leaves_a_job_and_is_exchanged_once() {
        let fakes = Fakes::new(FakeStore::default(), FakeQueue::default());
        let ended = carry_out(&fakes.lane, fakes.work(1).job).await;
        assert_eq!((ended, fakes.requests()), (OnDemandResult::Ended, 1));
        assert_eq!(fakes.queue.retried.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_broker_nothing_is_sent_for_a_caller() {
        let queue = FakeQueue { failures: AtomicU32::new(1), ..FakeQueue::default() };
        let fakes = Fakes::new(FakeStore::default(), queue);
        let ended = carry_out(&fakes.lane, fakes.work(1).job).await;
        assert_eq!((ended, fakes.requests()), (OnDemandResult::Busy, 0));
    }
}
