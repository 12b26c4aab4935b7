//! One provider's part of a pass: reads what is due, publishes jobs, marks the documents.

use evergrant_domain::statistics::ProviderCounts;
use evergrant_domain::{DocumentId, Job, ProviderId, Timestamp};
use evergrant_ports::{DueGrant, DueQuery, DueSelection, QueueError, StoreError};
use futures::future::join;
use futures::{Stream, TryStreamExt};
use tracing::{Instrument, error_span};

use crate::unmarked::UnmarkedDocuments;
use crate::{PassError, PassProgress, PassSelection, ProducerDeps, ProviderSummary};

/// The result of publishing a window of jobs.
#[derive(Default)]
struct PublishedJobs {
    /// Jobs that are in their queues, or would be in a dry run.
    count: u64,
    /// The documents whose jobs are confirmed, to be marked.
    confirmed: Vec<DocumentId>,
    /// The last failure, if some jobs are not queued.
    failure: Option<QueueError>,
}

/// After this many windows in a row without a confirmed job, the broker counts as accepting none.
const FRUITLESS_MAX: u32 = 50;
/// After this many refusals in a row, the store counts as refusing every mark.
const REFUSALS_MAX: u32 = 32;

/// One provider's part of a pass.
pub(crate) struct Publishing<'a> {
    pub(crate) deps: &'a ProducerDeps,
    pub(crate) selection: &'a PassSelection,
    pub(crate) progress: &'a dyn PassProgress,
    pub(crate) provider: &'a ProviderId,
    /// Documents that the store refuses to mark.
    pub(crate) unmarked: &'a UnmarkedDocuments,
}

impl Publishing<'_> {
    /// Publishes until nothing more is due or the queues are full. Failures are in the summary.
    pub(crate) async fn run(self) -> ProviderSummary {
        // At the level of errors, or a filter of levels would take the field from those.
        let span = error_span!("pass", provider = %self.provider);
        self.publish_all_due().instrument(span).await
    }

    async fn publish_all_due(self) -> ProviderSummary {
        let mut summary = ProviderSummary::new(self.provider.clone());
        if let Err(failure) = self.publish_due(&mut summary).await {
            summary.failure = Some(failure);
        }
        summary
    }

    async fn publish_due(&self, summary: &mut ProviderSummary) -> Result<(), PassError> {
        let now = self.deps.store.now().await?;
        let mut room = self.room().await?;
        let query = DueQuery {
            provider: self.provider.clone(),
            which: self.selection.which.clone(),
            from: None,
        };
        let window = self.deps.settings.window.max(1);
        let mut due = self.deps.store.due(query);
        let (mut confirmed, mut fruitless) = (Vec::new(), 0);
        loop {
            let wanted = usize::try_from(room).unwrap_or(usize::MAX).min(window);
            let (grants, failure) = self.read_window(&mut due, wanted).await;
            if grants.is_empty() {
                summary.unmarked += self.mark(&confirmed).await?;
                if let Some(error) = failure {
                    return Err(error.into());
                }
                // With no room left, one more read shows whether more is due.
                summary.more_is_due = room == 0 && due.try_next().await?.is_some();
                return Ok(());
            }
            // The store marks one window while the broker confirms the next.
            let (published, marked) = join(self.publish(&grants, now), self.mark(&confirmed)).await;
            summary.unmarked += marked?;
            confirmed = published.confirmed;
            summary.published += published.count;
            room = room.saturating_sub(published.count);
            self.progress.published(published.count);
            if let Some(error) = published.failure {
                fruitless = if published.count == 0 { fruitless + 1 } else { 0 };
                if fruitless == FRUITLESS_MAX {
                    return Err(error.into());
                }
                // Reported at the end, because one queue that takes no jobs must delay no other. If
                // the broker takes none at all, asking for the depth fails as well.
                if fruitless > 0 {
                    self.deps.queue.depth(self.provider).await?;
                }
                summary.failure = summary.failure.take().or(Some(error.into()));
            }
            if let Some(error) = failure {
                summary.unmarked += self.mark(&confirmed).await?;
                return Err(error.into());
            }
        }
    }

    /// The next grants, at most `wanted`; with a failure, those that came before it.
    async fn read_window(
        &self,
        due: &mut (impl Stream<Item = Result<DueGrant, StoreError>> + Unpin),
        wanted: usize,
    ) -> (Vec<DueGrant>, Option<StoreError>) {
        let mut grants = Vec::with_capacity(wanted);
        while grants.len() < wanted {
            match due.try_next().await {
                Ok(Some(grant)) if self.wants(&grant) => grants.push(grant),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return (grants, Some(error)),
            }
        }
        (grants, None)
    }

    /// Whether a grant needs a job now. A grant whose document cannot be marked has one already.
    fn wants(&self, grant: &DueGrant) -> bool {
        let asked_for = self.selection.which != DueSelection::Due || self.selection.dry_run;
        asked_for || !self.unmarked.is_parked(&grant.id)
    }

    /// How many jobs may be added. There is no limit on what an operator asks for by name.
    async fn room(&self) -> Result<u64, PassError> {
        if self.selection.dry_run || self.selection.which != DueSelection::Due {
            return Ok(u64::MAX);
        }
        let depth = self.deps.queue.depth(self.provider).await?;
        Ok(self.deps.settings.max_queued.saturating_sub(depth))
    }

    /// Publishes a job for each grant and waits for the confirms. A queue that takes no jobs delays
    /// no other queue of the provider.
    async fn publish(&self, grants: &[DueGrant], now: Timestamp) -> PublishedJobs {
        if self.selection.dry_run {
            return PublishedJobs { count: grants.len() as u64, ..PublishedJobs::default() };
        }
        let jobs: Vec<Job> = grants.iter().map(|grant| self.job(grant, now)).collect();
        let mut published = PublishedJobs::default();
        for (job, result) in jobs.iter().zip(self.deps.queue.publish_each(&jobs).await) {
            match result {
                Ok(()) => published.confirmed.push(job.id.clone()),
                Err(error) => published.failure = published.failure.or(Some(error)),
            }
        }
        published.count = published.confirmed.len() as u64;
        let due = ProviderCounts { due: published.count, ..ProviderCounts::default() };
        self.deps.reports.count(self.provider, &due);
        published
    }

    /// Marks the documents of confirmed jobs. A group that the store refuses is halved until the
    /// refused document is alone; that one is parked. Returns the number of parked documents.
    async fn mark(&self, confirmed: &[DocumentId]) -> Result<u64, PassError> {
        let mut groups = if confirmed.is_empty() { Vec::new() } else { vec![confirmed] };
        let (mut refused, mut in_a_row) = (0, 0);
        while let Some(group) = groups.pop() {
            match self.deps.store.mark_queued(group, self.deps.settings.queued_for).await {
                Ok(()) => {
                    in_a_row = 0;
                    self.unmarked.forget(group);
                }
                Err(StoreError::Refused { .. }) if group.len() > 1 && in_a_row < REFUSALS_MAX => {
                    let (first, second) = group.split_at(group.len() / 2);
                    groups.extend([second, first]);
                }
                Err(error @ StoreError::Refused { .. }) => {
                    in_a_row += 1;
                    refused += group.len() as u64;
                    for id in group {
                        if self.unmarked.park(id) {
                            tracing::warn!(%id, %error,
                                "the store refuses to mark this document as queued: its next job waits");
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(refused)
    }

    fn job(&self, grant: &DueGrant, now: Timestamp) -> Job {
        Job {
            force: self.selection.which != DueSelection::Due,
            ..Job::new(self.provider.clone(), grant.id.clone(), grant.generation, now)
        }
    }
}
