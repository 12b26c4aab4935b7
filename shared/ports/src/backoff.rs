//! Backoff between tries.

use std::time::Duration;

/// Waits that double from try to try, each shortened at random by up to a half, so that many
/// processes that lost the same server do not return at once. The randomness is `fastrand`'s of
/// this thread, which a simulation seeds.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from `first` up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// For an unavailable server: from 100 ms up to 2 s, so that work continues within seconds of
    /// its return.
    pub const fn for_a_server() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(2))
    }

    /// For an answer to be written: from 50 ms up to 250 ms. Its document's lease runs out
    /// meanwhile, and a takeover would present the old token again.
    pub const fn for_an_answer() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_millis(250))
    }

    /// The wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.longest).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Notes a success: the next wait is the first again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_reset_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for bound_ms in [100, 200, 400, 800, 1_000, 1_000] {
            let wait = backoff.next_wait();
            let bound = Duration::from_millis(bound_ms);
            assert!(wait <= bound && wait >= bound / 2, "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
