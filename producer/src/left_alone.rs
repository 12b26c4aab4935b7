//! Logs which documents are not adopted and why, when that changes.

use std::collections::BTreeSet;
use std::time::Duration;

use evergrant_ports::DueStore;

/// By then, the first pass has adopted its documents.
const FIRST_CHECK_DELAY: Duration = Duration::from_secs(5);
/// Long, because counting reads every document that is not adopted.
const CHECK_INTERVAL: Duration = Duration::from_secs(3_600);
/// The most reasons that one check logs.
const NAMED_MAX: usize = 10;

/// Checks at intervals, without end.
pub(crate) async fn keep_telling(store: &dyn DueStore) {
    let mut told = BTreeSet::new();
    let mut wait = FIRST_CHECK_DELAY;
    loop {
        tokio::time::sleep(wait).await;
        wait = CHECK_INTERVAL;
        let left = match store.unadopted().await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "cannot count the documents that are not adopted: trying again later");
                continue;
            }
        };
        let new = left.iter().filter(|unadopted| !told.contains(&unadopted.why));
        for unadopted in new.take(NAMED_MAX) {
            let (documents, why) = (unadopted.documents, unadopted.why.to_string());
            tracing::warn!(documents, why, "documents are not adopted: see evergrant doctor");
        }
        told = left.into_iter().map(|unadopted| unadopted.why).collect();
    }
}
