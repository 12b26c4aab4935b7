//! A running bulk action.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evergrant_domain::audit::ActionProgress;
use evergrant_domain::{DeadLetter, DocumentId, ProviderId};
use evergrant_ports::{Backoff, OperationsLog, QueueError, StoreError};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::send_back::{SendResult, send_back};
use super::{BulkActions, BulkKind, BulkRequest, BulkTally, LetterMatch};
use crate::letters::{LetterSelection, LettersError};

/// How often the progress is recorded in the audit record.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// How long one browse may hold letters. RabbitMQ closes a consumer that holds a message for 30
/// minutes.
const BROWSE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The number of consecutive failures, without a letter in between, after which the action fails.
const FAILURES_MAX: u32 = 6;

/// A running bulk action.
pub(super) struct BulkRun<'a> {
    bulk: &'a BulkActions,
    request: &'a BulkRequest,
    stop: &'a CancellationToken,
    rate: Option<DefaultDirectRateLimiter>,
    tally: BulkTally,
    /// The same counts, for the task that records them.
    told: Arc<Mutex<BulkTally>>,
    /// Documents whose letter failed half-way: they may be active by now.
    begun: HashSet<DocumentId>,
}

/// Why a browse ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BrowseEnd {
    /// All letters were handled, the limit was reached, or the action was cancelled.
    Through,
    /// It held letters for the maximum time: another browse continues.
    ForLong,
}

impl<'a> BulkRun<'a> {
    pub(super) fn new(
        bulk: &'a BulkActions,
        request: &'a BulkRequest,
        stop: &'a CancellationToken,
    ) -> Self {
        // One at a time, without a burst at the beginning.
        let quota =
            |per_second| Quota::per_second(per_second).allow_burst(std::num::NonZeroU32::MIN);
        let rate = request.per_second.map(|per_second| RateLimiter::direct(quota(per_second)));
        Self {
            bulk,
            request,
            stop,
            rate,
            tally: BulkTally::default(),
            told: Arc::default(),
            begun: HashSet::new(),
        }
    }

    /// The progress, for [`keep_telling`].
    pub(super) fn told(&self) -> Arc<Mutex<BulkTally>> {
        Arc::clone(&self.told)
    }

    pub(super) fn into_tally(self) -> BulkTally {
        self.tally
    }

    pub(super) async fn run(
        &mut self,
        watch: &(impl Fn(&BulkTally) + Send + Sync),
    ) -> Result<(), LettersError> {
        let filter = self.request.filter.clone();
        let providers = self.bulk.letters.providers(&filter)?;
        let wanted = self.bulk.letters.wanted(&filter).await?;
        if wanted.is_impossible() {
            return Ok(());
        }
        for provider in providers {
            self.run_provider(&provider, &wanted, watch).await?;
        }
        Ok(())
    }

    /// Browses again when a browse took too long, or the broker or the store was unavailable.
    /// Letters that stay are seen by each browse, and counted once.
    async fn run_provider(
        &mut self,
        provider: &ProviderId,
        wanted: &LetterSelection,
        watch: &(impl Fn(&BulkTally) + Send + Sync),
    ) -> Result<(), LettersError> {
        let before = self.tally.clone();
        let (mut failures, mut done) = (0, before.done);
        let mut backoff = Backoff::for_a_server();
        loop {
            self.tally = BulkTally { done: self.tally.done, ..before.clone() };
            let done_here = self.tally.done - before.done;
            self.tally.matched += done_here;
            *self.tally.providers.entry(provider.clone()).or_default() += done_here;
            let looked = self.look(provider, wanted, watch).await;
            if self.tally.done > done {
                (failures, done) = (0, self.tally.done);
                backoff.reset();
            }
            match looked {
                Ok(BrowseEnd::Through) => {
                    self.tally.providers.retain(|_, matched| *matched > 0);
                    return Ok(());
                }
                Ok(BrowseEnd::ForLong) => {}
                Err(error) if is_passing(&error) && failures < FAILURES_MAX => {
                    failures += 1;
                    let wait = backoff.next_wait();
                    tracing::warn!(%error, %provider, "a bulk action was interrupted: continuing where it stopped");
                    tokio::select! {
                        () = self.stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn look(
        &mut self,
        provider: &ProviderId,
        wanted: &LetterSelection,
        watch: &(impl Fn(&BulkTally) + Send + Sync),
    ) -> Result<BrowseEnd, LettersError> {
        let most = self.request.limit.unwrap_or(u64::MAX);
        let began = Instant::now();
        let mut letters = self.bulk.letters.queue.dead_letters(provider).await?;
        let mut looked = BrowseEnd::Through;
        while self.tally.matched < most
            && !self.stop.is_cancelled()
            && let Some(letter) = letters.next().await?
        {
            if !wanted.matches(&letter)
                || self.request.meaning(&letter) == LetterMatch::Other
                || !self.is_meant(&letter).await?
                || !self.tally.is_meant(self.request, &letter)
            {
                continue;
            }
            if began.elapsed() >= BROWSE_TIMEOUT {
                looked = BrowseEnd::ForLong;
                break;
            }
            if !self.wait_for_turn().await {
                break;
            }
            self.tally.meet(provider);
            if self.settle_once(&letter).await? {
                // Last: a crash before this leaves the letter, and redriving it twice costs one
                // exchange at most.
                letters.remove().await?;
                self.tally.done += 1;
            }
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = self.tally.clone();
            watch(&self.tally);
        }
        letters.close().await?;
        Ok(looked)
    }

    /// False if the action is cancelled meanwhile.
    async fn wait_for_turn(&self) -> bool {
        let Some(rate) = &self.rate else { return true };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = rate.until_ready() => true,
        }
    }

    /// Whether the filter includes the letter, which depends on whether its grant lives again. A
    /// grant that this action itself has reactivated is included.
    async fn is_meant(&self, letter: &DeadLetter) -> Result<bool, LettersError> {
        let begun = letter.id.as_ref().is_some_and(|id| self.begun.contains(id));
        if begun {
            return Ok(true);
        }
        Ok(self.bulk.letters.is_revived(letter).await? == self.request.filter.revived)
    }

    /// Whether the letter may be removed. A letter that failed half-way is seen again.
    async fn settle_once(&mut self, letter: &DeadLetter) -> Result<bool, LettersError> {
        let settled = self.settle(letter).await;
        if let (Err(_), Some(id)) = (&settled, &letter.id) {
            self.begun.insert(id.clone());
        }
        settled
    }

    /// Whether the letter may be removed.
    async fn settle(&mut self, letter: &DeadLetter) -> Result<bool, LettersError> {
        if self.request.kind == BulkKind::Discard {
            return Ok(true);
        }
        match send_back(&self.bulk.letters, letter, self.bulk.queued_for).await? {
            SendResult::Back => return Ok(true),
            SendResult::NoDocument => self.tally.left_no_document += 1,
            SendResult::NoJob => self.tally.left_no_job += 1,
        }
        Ok(false)
    }
}

fn is_passing(error: &LettersError) -> bool {
    matches!(
        error,
        LettersError::Store(StoreError::Unavailable { .. })
            | LettersError::Queue(QueueError::Unavailable { .. } | QueueError::Unconfirmed { .. })
    )
}

/// Records the progress in the audit record, without end: a silent action would count as dead.
pub(super) async fn keep_telling(
    store: &dyn OperationsLog,
    id: &str,
    counted: Option<u64>,
    told: Arc<Mutex<BulkTally>>,
) {
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let progress: ActionProgress =
            told.lock().unwrap_or_else(PoisonError::into_inner).progress(counted);
        if let Err(error) = store.tell_audit(id, &progress).await {
            tracing::debug!(%error, "cannot record the progress of a bulk action: trying again");
        }
    }
}
