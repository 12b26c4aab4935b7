//! Runs a bulk action to its end, independently of pages.

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::audit::AuditEntry;
use evergrant_ports::wall_clock;
use tokio_util::sync::CancellationToken;

use super::Web;
use super::bulk::{BulkProgress, Order};
use super::problem::Problem;
use evergrant_operations::bulk::{BulkActions as Engine, BulkRequest};
use evergrant_operations::letters::LetterQueues;

/// How long an action may take to end when the console does.
const END_TIMEOUT: Duration = Duration::from_secs(10);

impl Web {
    /// The engine of bulk actions.
    pub(super) fn engine(&self) -> Engine {
        let letters = LetterQueues {
            store: Arc::clone(&self.store),
            queue: Arc::clone(&self.queue),
            providers: self.providers.iter().map(|provider| provider.id.clone()).collect(),
        };
        Engine { letters, queued_for: self.queued_for }
    }

    /// Begins a bulk action in the background. Returns its entry in the audit record.
    ///
    /// # Errors
    /// If another one runs, or the audit record cannot be written: then nothing was begun.
    pub(super) async fn begin_bulk(self: &Arc<Self>, order: Order) -> Result<AuditEntry, Problem> {
        let Some(stop) = self.bulk.begin(BulkProgress::new(&order)) else {
            return Err(Problem::busy(self.bulk.last().map(|running| running.words())));
        };
        let Order { request, matched, who, why, .. } = order;
        let engine = self.engine();
        match engine.begin(who, why, &request, matched).await {
            Ok(entry) => {
                let web = Arc::clone(self);
                let (kept, begun) = (entry.clone(), request);
                tokio::spawn(async move { web.run_bulk(&engine, &kept, &begun, &stop).await });
                Ok(entry)
            }
            Err(error) => {
                self.bulk.fail(&error.to_string());
                Err(error.into())
            }
        }
    }

    async fn run_bulk(
        &self,
        engine: &Engine,
        entry: &AuditEntry,
        request: &BulkRequest,
        stop: &CancellationToken,
    ) {
        // No other browse at the same time, at least in this process.
        let looking = Arc::clone(&self.letters.looking);
        let mine = looking.lock().await;
        let watch = |tally: &evergrant_operations::bulk::BulkTally| {
            self.bulk.tell(|running| (running.done, running.left) = (tally.done, tally.left()));
        };
        let ended = engine.run(entry, request, watch, stop).await;
        drop(mine);
        self.bulk.tell(|running| {
            (running.done, running.left) = (ended.tally.done, ended.tally.left());
            running.outcome = ended.outcome;
            running.ended_at = Some(wall_clock());
            running.detail = match &ended.error {
                Some(error) => error.to_string(),
                None => ended.tally.detail(),
            };
        });
        self.letters.look_again();
        self.watcher.look_again();
    }

    /// Ends the running bulk action, if there is one, and waits until that is in the audit record.
    pub(super) async fn end_bulk(&self) {
        self.bulk.cancel();
        let mut changes = self.bulk.changes();
        let ended = changes.wait_for(|last| !last.as_ref().is_some_and(BulkProgress::is_running));
        let _ = tokio::time::timeout(END_TIMEOUT, ended).await;
    }
}
