//! The daemon: adoption, one publishing loop per provider, and the sweep. They run concurrently, so
//! a slow or broken one delays no other (no head-of-line blocking).

use evergrant_domain::ProviderId;
use evergrant_ports::DueSelection;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::metrics::ProducerMetrics;
use crate::publishing::Publishing;
use crate::standing::ProducerStanding;
use crate::sweep::keep_sweeping;
use crate::unmarked::UnmarkedDocuments;
use crate::{NoProgress, PassSelection, ProducerDeps};

/// Runs all loops until the caller drops this future.
pub(crate) async fn serve(deps: &ProducerDeps, metrics: &ProducerMetrics) {
    let standing = ProducerStanding::new(deps, metrics);
    let rounds = watch::Sender::new(());
    let passes = deps.providers.iter().map(|provider| {
        // Each loop subscribes before the first round begins.
        keep_publishing(deps, &standing, provider, rounds.subscribe())
    });
    let passes = join_all(passes.collect::<Vec<_>>());
    tokio::join!(keep_adopting(deps, &standing, &rounds), passes, keep_sweeping(deps, &standing));
}

/// Adopts documents, then starts a round of passes. If adoption takes longer than the interval,
/// rounds start meanwhile for what is already adopted.
async fn keep_adopting(
    deps: &ProducerDeps,
    standing: &ProducerStanding<'_>,
    rounds: &watch::Sender<()>,
) {
    let interval = deps.settings.interval;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut adopting = deps.store.adopt();
        let adopted = loop {
            match tokio::time::timeout(interval, &mut adopting).await {
                Ok(adopted) => break adopted,
                Err(_) => rounds.send_replace(()),
            }
        };
        standing.adopted(adopted);
        rounds.send_replace(());
    }
}

/// Makes one provider's pass in each round. A slow provider skips rounds.
async fn keep_publishing(
    deps: &ProducerDeps,
    standing: &ProducerStanding<'_>,
    provider: &ProviderId,
    mut rounds: watch::Receiver<()>,
) {
    let selection = PassSelection { which: DueSelection::Due, dry_run: false, sweep: false };
    let unmarked = UnmarkedDocuments::new();
    while rounds.changed().await.is_ok() {
        let publishing = Publishing {
            deps,
            selection: &selection,
            progress: &NoProgress,
            provider,
            unmarked: &unmarked,
        };
        let summary = publishing.run().await;
        standing.published(&summary, unmarked.len());
    }
}
