//! One pass over all providers: what is due becomes jobs.

use evergrant_ports::{DueSelection, StoreError};
use futures::future::join_all;

use crate::publishing::Publishing;
use crate::sweep::sweep_whole;
use crate::unmarked::UnmarkedDocuments;
use crate::{PassError, PassProgress, PassSelection, PassSummary, ProducerDeps, ProviderSummary};

/// Makes one pass. The providers are independent: a full or broken queue of one delays no other,
/// and neither does a failing adoption.
pub(crate) async fn pass(
    deps: &ProducerDeps,
    selection: &PassSelection,
    progress: &dyn PassProgress,
) -> PassSummary {
    let (mut adopted, mut revived, mut failures) = (0, 0, Vec::new());
    let mut count = |counted: &mut u64, result: Result<u64, StoreError>| match result {
        Ok(n) => *counted = n,
        Err(error) => failures.push(PassError::Store(error)),
    };
    if !selection.dry_run {
        count(&mut adopted, deps.store.adopt().await);
    }
    let mut providers = publish_all(deps, selection, progress).await;
    if selection.sweep && !selection.dry_run {
        count(&mut revived, sweep_whole(&*deps.store).await);
        if revived > 0 && selection.which == DueSelection::Due {
            let again = publish_all(deps, selection, progress).await;
            let both = providers.into_iter().zip(again);
            providers = both.map(|(first, second)| first.and_then(second)).collect();
        }
    }
    progress.finish();
    PassSummary { adopted, revived, dry_run: selection.dry_run, providers, failures }
}

async fn publish_all(
    deps: &ProducerDeps,
    selection: &PassSelection,
    progress: &dyn PassProgress,
) -> Vec<ProviderSummary> {
    let unmarked = UnmarkedDocuments::new();
    let each = deps.providers.iter().map(|provider| {
        Publishing { deps, selection, progress, provider, unmarked: &unmarked }.run()
    });
    join_all(each).await
}
