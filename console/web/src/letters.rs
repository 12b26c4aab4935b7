//! The dead letters as they were a moment ago.
//!
//! To look at 100,000 dead letters of a broker takes seconds, and whoever looks at the same time waits
//! for it. So pages show a picture, which says when it was taken. It is taken anew when somebody wants
//! to see dead letters, at most so often, and not while a bulk action runs. Its memory has a limit:
//! beyond that letters are counted and not kept.

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

/// Letters that are kept. One takes about 400 bytes.
const KEPT_MAX: usize = 100_000;
/// A picture that is younger is as good as a new one.
const SNAPSHOT_TTL: Duration = Duration::from_secs(1);
/// How many times as long as a look took nobody looks again.
const QUERY_COOLDOWN_FACTOR: u32 = 5;
/// How long a page waits for a new picture before it shows the old one.
const PAGE_TIMEOUT: Duration = Duration::from_millis(120);
/// How long a page waits for the first picture.
const FIRST_PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A dead letter that is shown: all of it but the message's body, which may hold anything.
pub(super) struct Letter {
    /// What tells it from all others.
    pub(super) key: String,
    /// Its body is empty.
    pub(super) letter: DeadLetter,
    /// Its grant lived again when the picture was taken.
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

/// All dead letters at a time.
pub(super) struct LetterSnapshot {
    /// By this machine's clock.
    pub(super) at: Timestamp,
    /// When it began, by the store's clock. None if the store was away.
    pub(super) cutoff: Option<Timestamp>,
    /// How long it took.
    took: Duration,
    pub(super) groups: Vec<LetterGroup>,
    pub(super) letters: Vec<Letter>,
    /// Letters that somebody has to do something about.
    pub(super) total: u64,
    /// Letters of grants that live again, which are not counted otherwise.
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

/// What is known of the dead letters.
#[derive(Clone, Default)]
pub(super) struct LettersView {
    /// The last picture.
    pub(super) taken: Option<Arc<LetterSnapshot>>,
    /// Why there is no newer one: since when, and what the broker said.
    pub(super) away: Option<(Timestamp, String)>,
    /// A bulk action runs, and whoever looks takes letters from it.
    pub(super) busy: bool,
}

/// Takes pictures.
pub(super) struct LetterCache {
    source: Source,
    seen: watch::Sender<LettersView>,
    wanted: Notify,
    /// Held by whoever looks or runs a bulk action here: a page does not wait for either.
    pub(super) looking: Arc<tokio::sync::Mutex<()>>,
}

impl LetterCache {
    pub(super) fn new(source: Source) -> Self {
        let (seen, wanted, looking) = (watch::Sender::default(), Notify::new(), Arc::default());
        Self { source, seen, wanted, looking }
    }

    /// What is known, without another look.
    pub(super) fn seen(&self) -> LettersView {
        self.seen.borrow().clone()
    }

    /// What is known, of now if that is quickly had.
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
            // It would not be there in time.
            Some(taken) if taken.took > PAGE_TIMEOUT => return known,
            _ => PAGE_TIMEOUT,
        };
        let _ = tokio::time::timeout(waits, changes.changed()).await;
        self.seen()
    }

    /// Wants a new picture: something has changed.
    pub(super) fn look_again(&self) {
        self.wanted.notify_one();
    }

    /// Wants a new picture if the last one is older than this.
    pub(super) fn keep_within(&self, age: Duration) {
        let taken_at = self.seen.borrow().taken.as_ref().map(|taken| taken.at);
        if taken_at.is_none_or(|at| wall_clock().since(at) > age) {
            self.wanted.notify_one();
        }
    }

    /// Takes pictures until `shutdown`, when they are wanted.
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

    /// Takes a picture now, unless a bulk action runs.
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

    /// Whether somebody sends letters back or removes them, here or from another process. Where that
    /// cannot be told, it is looked all the same.
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
