//! One pass: what is due becomes jobs.

use evergrant_shared::domain::statistics::Counts;
use evergrant_shared::domain::{DocumentId, Job, ProviderId, Timestamp};
use evergrant_shared::ports::{DueGrant, DueQuery, Which};
use futures::TryStreamExt;
use futures::future::{try_join, try_join_all};

use crate::{Deps, PassError, Progress, ProviderSummary, Selection, Summary};

/// Makes one pass over all providers, each on its own: a full queue of one does not hold up another.
pub(crate) async fn pass(
    deps: &Deps,
    selection: &Selection,
    progress: &dyn Progress,
) -> Result<Summary, PassError> {
    let adopted = if selection.dry_run { 0 } else { deps.store.adopt().await? };
    let sweep = selection.sweep && !selection.dry_run;
    let revived = if sweep { sweep_all(deps).await? } else { 0 };
    let now = deps.store.now().await?;
    let each = deps.providers.iter().map(|provider| {
        let publishing = Publishing { deps, selection, progress, provider, now };
        publishing.run()
    });
    let providers = try_join_all(each).await?;
    progress.finish();
    Ok(Summary { adopted, revived, dry_run: selection.dry_run, providers })
}

/// Documents that are looked at in one part of a sweep.
const SWEEP_BATCH: u32 = 2_000;

/// Looks for grants that have ended and live again, among all that have ended.
async fn sweep_all(deps: &Deps) -> Result<u64, PassError> {
    let (mut revived, mut place) = (0, None);
    loop {
        let part = deps.store.revive_signed_in(place, SWEEP_BATCH).await?;
        revived += part.revived;
        place = part.next;
        if place.is_none() {
            return Ok(revived);
        }
    }
}

/// One provider's part of a pass.
struct Publishing<'a> {
    deps: &'a Deps,
    selection: &'a Selection,
    progress: &'a dyn Progress,
    provider: &'a ProviderId,
    now: Timestamp,
}

impl Publishing<'_> {
    async fn run(self) -> Result<ProviderSummary, PassError> {
        let mut room = self.room().await?;
        let mut summary = ProviderSummary::new(self.provider.clone());
        let query = DueQuery {
            provider: self.provider.clone(),
            which: self.selection.which.clone(),
            from: None,
        };
        let window = self.deps.settings.window.max(1);
        let mut due = std::pin::pin!(self.deps.store.due(query));
        let mut confirmed = Vec::new();
        loop {
            let wanted = usize::try_from(room).unwrap_or(usize::MAX).min(window);
            let mut grants = Vec::with_capacity(wanted);
            while grants.len() < wanted
                && let Some(grant) = due.try_next().await?
            {
                grants.push(grant);
            }
            if grants.is_empty() {
                self.mark(&confirmed).await?;
                // With no room left, whether more is due is known by one look.
                summary.more_is_due = room == 0 && due.try_next().await?.is_some();
                return Ok(summary);
            }
            // The store marks one window while the broker confirms the next.
            let published = self.publish(&grants);
            (confirmed, ()) = try_join(published, self.mark(&confirmed)).await?;
            let count = grants.len() as u64;
            summary.published += count;
            room = room.saturating_sub(count);
            self.progress.published(count);
        }
    }

    /// How many jobs may be added. What an operator asks for by name is not limited.
    async fn room(&self) -> Result<u64, PassError> {
        if self.selection.dry_run || self.selection.which != Which::Due {
            return Ok(u64::MAX);
        }
        let depth = self.deps.queue.depth(self.provider).await?;
        Ok(self.deps.settings.max_queued.saturating_sub(depth))
    }

    /// Publishes a job for each and returns, once all are confirmed, the documents to mark.
    async fn publish(&self, grants: &[DueGrant]) -> Result<Vec<DocumentId>, PassError> {
        if self.selection.dry_run {
            return Ok(Vec::new());
        }
        let jobs: Vec<Job> = grants.iter().map(|grant| self.job(grant)).collect();
        self.deps.queue.publish(&jobs).await?;
        let due = Counts { due: jobs.len() as u64, ..Counts::default() };
        self.deps.reports.count(self.provider, &due);
        Ok(jobs.into_iter().map(|job| job.id).collect())
    }

    /// Marks documents whose jobs are confirmed.
    async fn mark(&self, confirmed: &[DocumentId]) -> Result<(), PassError> {
        if confirmed.is_empty() {
            return Ok(());
        }
        Ok(self.deps.store.mark_queued(confirmed, self.deps.settings.queued_for).await?)
    }

    fn job(&self, grant: &DueGrant) -> Job {
        Job {
            force: self.selection.which != Which::Due,
            ..Job::new(self.provider.clone(), grant.id.clone(), grant.generation, self.now)
        }
    }
}
