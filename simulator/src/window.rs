//! The largest count that any sliding window has seen, in bounded memory.

use std::collections::VecDeque;

/// Counts events and remembers the most that fell into one sliding window.
///
/// Events are kept in buckets of a fixed width. The sum runs over as many buckets as fit into the
/// window, so two events in it are always less than a window apart: the count is never too high,
/// and misses only what lies within one bucket's width of the window's edge.
#[derive(Debug)]
pub(crate) struct WindowMaximum {
    bucket_us: u64,
    buckets: u64,
    /// The buckets of the window that hold events, oldest first: which, and how many events.
    counts: VecDeque<(u64, u64)>,
    sum: u64,
    largest: u64,
}

impl WindowMaximum {
    /// A window of `buckets` buckets, each `bucket_us` microseconds wide.
    pub(crate) fn new(bucket_us: u64, buckets: u64) -> Self {
        Self { bucket_us, buckets, counts: VecDeque::new(), sum: 0, largest: 0 }
    }

    /// Counts one event.
    pub(crate) fn record(&mut self, now_us: u64) {
        let newest = self.counts.back().map_or(0, |(bucket, _)| *bucket);
        // The clock never goes backwards.
        let bucket = (now_us / self.bucket_us).max(newest);
        while let Some((oldest, count)) = self.counts.front().copied()
            && oldest + self.buckets <= bucket
        {
            self.counts.pop_front();
            self.sum -= count;
        }
        match self.counts.back_mut() {
            Some((newest, count)) if *newest == bucket => *count += 1,
            _ => self.counts.push_back((bucket, 1)),
        }
        self.sum += 1;
        self.largest = self.largest.max(self.sum);
    }

    /// The most events that one window held.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    /// Forgets the past.
    pub(crate) fn reset(&mut self) {
        self.counts.clear();
        self.sum = 0;
        self.largest = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by looking at every pair.
    fn by_brute_force(times_us: &[u64], window_us: u64) -> u64 {
        let within = |from: &u64| {
            times_us.iter().filter(|at| *at >= from && **at - *from < window_us).count() as u64
        };
        times_us.iter().map(within).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn the_largest_count_equals_that_of_brute_force(
            steps in prop::collection::vec(0u64..40, 1..200),
        ) {
            let mut window = WindowMaximum::new(1, 50);
            let mut now_us = 1_000;
            let mut times_us = Vec::new();
            for step in steps {
                now_us += step;
                window.record(now_us);
                times_us.push(now_us);
            }
            prop_assert_eq!(window.largest(), by_brute_force(&times_us, 50));
        }

        #[test]
        fn wide_buckets_never_count_too_many(
            steps in prop::collection::vec(0u64..400, 1..200),
        ) {
            let mut window = WindowMaximum::new(10, 100);
            let mut now_us = 0;
            let mut times_us = Vec::new();
            for step in steps {
                now_us += step;
                window.record(now_us);
                times_us.push(now_us);
            }
            prop_assert!(window.largest() <= by_brute_force(&times_us, 1_000));
            prop_assert!(window.largest() >= by_brute_force(&times_us, 991));
        }
    }
}
