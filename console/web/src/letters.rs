//! A snapshot of the dead letters.
//!
//! Browsing 100,000 dead letters at a broker takes seconds, and other browses wait meanwhile. So
//! pages show a snapshot with its time. It is renewed when dead letters are viewed, at most at an
//! interval, and not during a bulk action. Its memory is limited: further letters are counted and
//! not kept.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::{DeadLetter, DeadReason, ProviderId, Timestamp};
use evergrant_ports::wall_clock;
use evergrant_runtime::process::ShutdownSignal;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use evergrant_operations::letters::{LetterFilter, LetterGroup, LetterQueues as Source, group};

/// The most letters that are kept. One takes about 400 bytes.
const KEPT_MAX: usize = 100_000;
/// A younger snapshot counts as fresh.
const SNAPSHOT_TTL: Duration = Duration::from_secs(1);
/// Idle time after a browse, as a multiple of its duration.
const QUERY_COOLDOWN_FACTOR: u32 = 5;
/// How long a page waits for a new snapshot before it shows the old one.
const PAGE_TIMEOUT: Duration = Duration::from_millis(120);
/// How long a page waits for the first snapshot.
const FIRST_PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A dead letter for pages: all of it except the message's body, which may hold anything.
pub(super) struct Letter {
    /// Identifies it.
    pub(super) key: String,
    /// Its body is empty.
    pub(super) letter: DeadLetter,
    /// Whether its grant lived again at the time of the snapshot.
    pub(super) revived: bool,
}

impl Letter {
    fn new(mut letter: DeadLetter, revived: bool) -> Self {
        let body = std::mem::take(&mut letter.body);
        let mut hash = Sha256::new();
        for part in [letter.provider.as_str().as_bytes(), letter.reason.as_str().as_bytes(), &body]
        {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        for time in [letter.first_failed_at, letter.last_failed_at] {
            hash.update(time.unix_ms().to_le_bytes());
        }
        hash.update(letter.id.as_ref().map(ToString::to_string).unwrap_or_default());
        let key = hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect();
        Self { key, letter, revived }
    }
}

/// All dead letters at one time.
pub(super) struct LetterSnapshot {
    /// The time, by this machine's clock.
    pub(super) at: Timestamp,
    /// When the browse began, by the store's clock. None if the store was unavailable.
    pub(super) cutoff: Option<Timestamp>,
    /// The duration of the browse.
    took: Duration,
    pub(super) groups: Vec<LetterGroup>,
    pub(super) letters: Vec<Letter>,
    /// Letters that need action.
    pub(super) total: u64,
    /// Letters of grants that live again, which are not counted elsewhere.
    pub(super) revived: u64,
}

impl LetterSnapshot {
    /// Letters that are counted and not kept.
    pub(super) fn beyond(&self) -> u64 {
        (self.total + self.revived) - self.letters.len() as u64
    }

    pub(super) fn of_reason(&self) -> BTreeMap<DeadReason, u64> {
        let mut counts = BTreeMap::new();
        for group in &self.groups {
            *counts.entry(group.reason).or_default() += group.count;
        }
        counts
    }

    /// The letter with this key.
    pub(super) fn letter(&self, provider: &ProviderId, key: &str) -> Option<&Letter> {
        self.letters.iter().find(|letter| letter.key == key && letter.letter.provider == *provider)
    }
}

/// What is known about the dead letters.
#[derive(Clone, Default)]
pub(super) struct LettersView {
    /// The last snapshot.
    pub(super) taken: Option<Arc<LetterSnapshot>>,
    /// Why there is no newer one: since when, and the broker's error.
    pub(super) away: Option<(Timestamp, String)>,
    /// Whether a bulk action runs, from which a browse would take letters.
    pub(super) busy: bool,
}

/// Keeps a snapshot of the dead letters.
pub(super) struct LetterCache {
    source: Source,
    seen: watch::Sender<LettersView>,
    wanted: Notify,
    /// Locked during a browse or a bulk action here; pages wait for neither.
    pub(super) looking: Arc<tokio::sync::Mutex<()>>,
}

impl LetterCache {
    pub(super) fn new(source: Source) -> Self {
        let (seen, wanted, looking) = (watch::Sender::default(), Notify::new(), Arc::default());
        Self { source, seen, wanted, looking }
    }

    /// The present knowledge, without another browse.
    pub(super) fn seen(&self) -> LettersView {
        self.seen.borrow().clone()
    }

    /// The present knowledge, renewed if that is fast.
    pub(super) async fn latest(&self) -> LettersView {
        let mut changes = self.seen.subscribe();
        let known = changes.borrow_and_update().clone();
        let age = known.taken.as_ref().map(|taken| wall_clock().since(taken.at));
        if age.is_some_and(|age| age < SNAPSHOT_TTL) {
            return known;
        }
        self.wanted.notify_one();
        let waits = match &known.taken {
            None if known.away.is_none() => FIRST_PAGE_TIMEOUT,
            // It would be too late for the page.
            Some(taken) if taken.took > PAGE_TIMEOUT => return known,
            _ => PAGE_TIMEOUT,
        };
        let _ = tokio::time::timeout(waits, changes.changed()).await;
        self.seen()
    }

    /// Requests a new snapshot, because something has changed.
    pub(super) fn look_again(&self) {
        self.wanted.notify_one();
    }

    /// Requests a new snapshot if the last one is older than this.
    pub(super) fn keep_within(&self, age: Duration) {
        let taken_at = self.seen.borrow().taken.as_ref().map(|taken| taken.at);
        if taken_at.is_none_or(|at| wall_clock().since(at) > age) {
            self.wanted.notify_one();
        }
    }

    /// Takes requested snapshots until `shutdown`.
    pub(super) async fn run(self: Arc<Self>, shutdown: ShutdownSignal) {
        loop {
            tokio::select! {
                () = self.wanted.notified() => {}
                () = shutdown.clone().wait() => return,
            }
            self.look().await;
            let took = self.seen.borrow().taken.as_ref().map(|taken| taken.took);
            let rest = took.unwrap_or_default() * QUERY_COOLDOWN_FACTOR;
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = shutdown.clone().wait() => return,
            }
        }
    }

    /// Takes a snapshot now, unless a bulk action runs.
    pub(super) async fn look(&self) {
        let Ok(_mine) = self.looking.try_lock() else {
            return self.seen.send_modify(|seen| seen.busy = true);
        };
        if self.bulk_runs().await {
            return self.seen.send_modify(|seen| seen.busy = true);
        }
        let looked = self.take().await;
        self.seen.send_modify(|seen| {
            seen.busy = false;
            match looked {
                Ok(taken) => (seen.taken, seen.away) = (Some(Arc::new(taken)), None),
                Err(why) => {
                    let since = seen.away.take().map_or_else(wall_clock, |a| a.0);
                    seen.away = Some((since, why));
                }
            }
        });
    }

    /// Whether a redrive or a discard runs, here or in another process. If that is unknown, the
    /// browse proceeds.
    async fn bulk_runs(&self) -> bool {
        matches!(self.source.under_way().await, Ok(Some(_)))
    }

    async fn take(&self) -> Result<LetterSnapshot, String> {
        let began = Instant::now();
        let at = wall_clock();
        let cutoff = self.source.store.now().await.ok();
        let (mut groups, mut letters) = (Vec::new(), Vec::new());
        let (mut total, mut revived) = (0_u64, 0_u64);
        let all = LetterFilter::default();
        let looked = self.source.each_marked(&all, |letter, lives_again| {
            if lives_again {
                revived += 1;
            } else {
                total += 1;
                group(&mut groups, &letter);
            }
            if letters.len() < KEPT_MAX {
                letters.push(Letter::new(letter, lives_again));
            }
            ControlFlow::Continue(())
        });
        looked.await.map_err(|error| error.to_string())?;
        Ok(LetterSnapshot { at, took: began.elapsed(), groups, letters, total, revived, cutoff })
    }
}
