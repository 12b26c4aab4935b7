//! On-demand refreshes: jobs that come from a caller and not from a queue, and take the same way through
//! claim, permit, exchange and commit.
//!
//! A job that has to wait goes to the retry ladder as all do, and a worker takes it from there.
//!
//! All callers that wait for one document share one job (request coalescing). Across processes the lease does
//! the same: a second process finds the document leased, and its job ends with nothing done.

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

/// Refreshes grants when somebody asks for it.
pub struct OnDemandRefresher {
    lanes: HashMap<ProviderId, Arc<Lane>>,
    under_way: Arc<Mutex<HashMap<DocumentId, JobEnd>>>,
    core: WorkerCore,
    recovery: TaskTracker,
}

/// Becomes true when a job has ended.
type JobEnd = watch::Receiver<bool>;

impl OnDemandRefresher {
    /// A worker that consumes no work queue. It commits what was left in the journals, and takes answers from
    /// the rescue queue, as every worker does.
    pub fn start(deps: WorkerDeps) -> Self {
        let core = WorkerCore::start(deps);
        let by_provider = |lane: &Arc<Lane>| (lane.provider.id.clone(), Arc::clone(lane));
        let lanes = core.lanes.iter().map(by_provider).collect();
        let recovery = TaskTracker::new();
        core.recovery.iter().for_each(|task| drop(recovery.spawn(Arc::clone(task).run())));
        Self { lanes, under_way: Arc::default(), core, recovery }
    }

    /// Has a grant refreshed and waits until its job has ended: the grant is refreshed, its failure is
    /// written, or another process has it in hand. The document tells which. A caller that gives up costs
    /// nothing, and the job goes on.
    ///
    /// False if the provider is not served here.
    pub async fn refresh(&self, job: Job) -> bool {
        let Some(lane) = self.lanes.get(&job.provider) else { return false };
        let mut ended = self.join(lane, job);
        // An error means that the job was dropped, which is an end as well.
        let _ = ended.wait_for(|ended| *ended).await;
        true
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

    /// Finishes what was sent and gives back the rest.
    pub async fn stop(&self) -> WorkerEnd {
        self.core.stop.cancel();
        let grace = self.core.settings.shutdown_grace;
        let finished = async {
            for lane in self.lanes.values() {
                lane.jobs.close();
                lane.jobs.wait().await;
            }
            self.recovery.close();
            self.recovery.wait().await;
        };
        match tokio::time::timeout(grace, finished).await {
            Ok(()) => WorkerEnd::Cleanly,
            Err(_) => WorkerEnd::GraceOver,
        }
    }

    /// The end of the job that is under way for this document, which is `job` if there was none.
    fn join(&self, lane: &Arc<Lane>, job: Job) -> JobEnd {
        let mut under_way = lock(&self.under_way);
        if let Some(ended) = under_way.get(&job.id) {
            return ended.clone();
        }
        let (tell, ended) = watch::channel(false);
        under_way.insert(job.id.clone(), ended.clone());
        drop(under_way);
        let (lane, jobs) = (Arc::clone(lane), Arc::clone(&self.under_way));
        tokio::spawn(async move {
            let id = job.id.clone();
            carry_out(&lane, job).await;
            lock(&jobs).remove(&id);
            tell.send_replace(true);
        });
        ended
    }
}

fn lock(
    under_way: &Mutex<HashMap<DocumentId, JobEnd>>,
) -> MutexGuard<'_, HashMap<DocumentId, JobEnd>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a job through the lane. It has ended when its delivery is acknowledged or dropped.
async fn carry_out(lane: &Arc<Lane>, job: Job) {
    // A job that waits behind others is not claimed yet, so it holds no lease meanwhile.
    let flow_permit = tokio::select! {
        biased;
        () = lane.stop.cancelled() => return,
        flow_permit = lane.flow.ahead.semaphore().acquire_owned() => flow_permit.ok(),
    };
    let (acker, acknowledged) = oneshot::channel();
    let acker = Box::new(CallerAcker(acker));
    claim(lane, vec![JobDelivery { job, acker, redelivered: false, flow_permit }]).await;
    let _ = acknowledged.await;
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
