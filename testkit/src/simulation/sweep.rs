//! Runs many seeds on several threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{EventTally, Figures, SeedOptions, SeedResult, run};

/// Which seeds to run, and how.
#[derive(Debug, Clone)]
pub struct SeedSweep {
    /// The seeds.
    pub seeds: Range<u64>,
    /// How each is run.
    pub options: SeedOptions,
    /// The number of threads. None is one per core.
    pub threads: Option<usize>,
    /// Whether to continue after a violation.
    pub keep_going: bool,
}

/// The results.
#[derive(Debug, Clone, Default)]
pub struct SweepSums {
    /// How many seeds were run.
    pub seeds: u64,
    /// The sums of figures.
    pub figures: Figures,
    /// How often each fault occurred.
    pub reached: EventTally,
    /// How often each excuse was used.
    pub excuses: EventTally,
    /// The seeds that violated an invariant, by number.
    pub failed: Vec<SeedResult>,
}

impl SeedSweep {
    /// These seeds, on all cores, until one violates an invariant.
    pub const fn until_violated(seeds: Range<u64>, options: SeedOptions) -> Self {
        Self { seeds, options, threads: None, keep_going: false }
    }

    /// Runs them; `each` gets every result.
    pub fn run(&self, each: impl Fn(&SeedResult) + Sync) -> SweepSums {
        let (next, end) = (AtomicU64::new(self.seeds.start), AtomicU64::new(self.seeds.end));
        let sums = Mutex::new(SweepSums::default());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = run(seed, self.options);
                each(&outcome);
                if outcome.violation.is_some() && !self.keep_going {
                    end.store(0, Ordering::Relaxed);
                }
                sums.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.unwrap_or(cores) {
                scope.spawn(work);
            }
        });
        let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        sums.failed.sort_by_key(|outcome| outcome.seed);
        sums
    }
}

impl SweepSums {
    fn add(&mut self, outcome: SeedResult) {
        self.seeds += 1;
        self.figures += outcome.figures;
        self.reached += &outcome.reached;
        self.excuses += &outcome.excuses;
        if outcome.violation.is_some() {
            self.failed.push(outcome);
        }
    }

    /// The first seed that violated an invariant.
    pub fn first(&self) -> Option<&SeedResult> {
        self.failed.first()
    }
}
