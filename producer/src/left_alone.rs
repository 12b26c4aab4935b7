//! Says in the log which documents are left alone, when that changes.

use std::collections::BTreeSet;
use std::time::Duration;

use evergrant_ports::DueStore;

/// When the documents of a first pass are adopted.
const FIRST_CHECK_DELAY: Duration = Duration::from_secs(5);
/// Counting reads every document that is left alone.
const CHECK_INTERVAL: Duration = Duration::from_secs(3_600);
/// Reasons that are named, of those that a look finds.
const NAMED_MAX: usize = 10;

/// Looks now and then, for ever.
pub(crate) async fn keep_telling(store: &dyn DueStore) {
    let mut told = BTreeSet::new();
    let mut wait = FIRST_CHECK_DELAY;
    loop {
        tokio::time::sleep(wait).await;
        wait = CHECK_INTERVAL;
        let left = match store.unadopted().await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "documents that are left alone were not counted");
                continue;
            }
        };
        let new = left.iter().filter(|unadopted| !told.contains(&unadopted.why));
        for unadopted in new.take(NAMED_MAX) {
            let (documents, why) = (unadopted.documents, unadopted.why.to_string());
            tracing::warn!(documents, why, "documents are left alone: evergrant doctor says more");
        }
        told = left.into_iter().map(|unadopted| unadopted.why).collect();
    }
}
