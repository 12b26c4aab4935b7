//! The provider's rate limits, and what the arrivals amounted to.

use std::collections::VecDeque;

use crate::limit::RequestLimit;
use crate::window::WindowMaximum;

/// Every request to the token endpoint passes here first, as it would a gateway in front.
///
/// A refused request spends nothing of the limit, yet counts in the windows' maxima: those tell
/// what the clients sent.
#[derive(Debug)]
pub(crate) struct RequestGate {
    logs: Vec<Log>,
    second: WindowMaximum,
    minute: WindowMaximum,
}

/// The times at which one limit let a request through, oldest first, never more than its count.
#[derive(Debug)]
struct Log {
    limit: RequestLimit,
    passed_us: VecDeque<u64>,
}

impl RequestGate {
    pub(crate) fn new(limits: &[RequestLimit]) -> Self {
        Self {
            logs: limits.iter().map(|limit| Log::new(*limit)).collect(),
            second: WindowMaximum::new(100, 10_000),
            minute: WindowMaximum::new(1_000, 60_000),
        }
    }

    /// Counts an arrival. `Err` is how long until the next would pass, in microseconds.
    pub(crate) fn arrive(&mut self, now_us: u64) -> Result<(), u64> {
        self.second.record(now_us);
        self.minute.record(now_us);
        match self.logs.iter().map(|log| log.wait_us(now_us)).max().unwrap_or(0) {
            0 => {
                self.logs.iter_mut().for_each(|log| log.pass(now_us));
                Ok(())
            }
            wait_us => Err(wait_us),
        }
    }

    /// Takes up new limits. What has passed lately counts under them too.
    pub(crate) fn set_limits(&mut self, limits: &[RequestLimit]) {
        if self.logs.iter().map(|log| log.limit).eq(limits.iter().copied()) {
            return;
        }
        let history = self.logs.drain(..).max_by_key(|log| log.passed_us.len());
        let history = history.map(|log| log.passed_us).unwrap_or_default();
        self.logs = limits.iter().map(|limit| Log::after(*limit, &history)).collect();
    }

    /// The most arrivals in any sliding second.
    pub(crate) fn largest_1s(&self) -> u64 {
        self.second.largest()
    }

    /// The most arrivals in any sliding minute.
    pub(crate) fn largest_60s(&self) -> u64 {
        self.minute.largest()
    }

    /// Forgets the maxima, not the limits' logs.
    pub(crate) fn reset_maxima(&mut self) {
        self.second.reset();
        self.minute.reset();
    }
}

impl Log {
    fn new(limit: RequestLimit) -> Self {
        Self { limit, passed_us: VecDeque::new() }
    }

    fn after(limit: RequestLimit, history: &VecDeque<u64>) -> Self {
        let skip = history.len().saturating_sub(limit.count as usize);
        Self { limit, passed_us: history.iter().skip(skip).copied().collect() }
    }

    /// Zero when a request may pass now. As soon as the log is full, its oldest entry decides.
    fn wait_us(&self, now_us: u64) -> u64 {
        if self.passed_us.len() < self.limit.count as usize {
            return 0;
        }
        let oldest_us = self.passed_us.front().copied().unwrap_or(0);
        (oldest_us + self.limit.window_us).saturating_sub(now_us)
    }

    fn pass(&mut self, now_us: u64) {
        if self.passed_us.len() == self.limit.count as usize {
            self.passed_us.pop_front();
        }
        self.passed_us.push_back(now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(texts: &[&str]) -> Vec<RequestLimit> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_request_after_the_last_allowed_waits_for_the_oldest_to_leave() {
        let mut gate = RequestGate::new(&limits(&["2/s"]));
        assert_eq!(gate.arrive(0), Ok(()));
        assert_eq!(gate.arrive(400_000), Ok(()));
        assert_eq!(gate.arrive(500_000), Err(500_000));
        assert_eq!(gate.arrive(1_000_000), Ok(()));
        assert_eq!(gate.arrive(1_000_001), Err(399_999));
    }

    #[test]
    fn several_limits_hold_at_once_and_the_longest_wait_is_told() {
        let mut gate = RequestGate::new(&limits(&["10/s", "3/min"]));
        assert!((0..3).all(|n| gate.arrive(n).is_ok()));
        assert_eq!(gate.arrive(1_000_000), Err(59_000_000));
    }

    #[test]
    fn refused_requests_count_in_the_maxima_and_spend_nothing() {
        let mut gate = RequestGate::new(&limits(&["1/s"]));
        for now_us in 0..5 {
            let _ = gate.arrive(now_us);
        }
        assert_eq!((gate.largest_1s(), gate.largest_60s()), (5, 5));
        assert_eq!(gate.arrive(1_000_000), Ok(()));
    }

    #[test]
    fn a_lower_limit_counts_what_has_already_passed() {
        let mut gate = RequestGate::new(&limits(&["10/min"]));
        assert!((0..5).all(|n| gate.arrive(n).is_ok()));
        gate.set_limits(&limits(&["3/min"]));
        assert!(gate.arrive(10).is_err());
        gate.set_limits(&[]);
        assert!(gate.arrive(11).is_ok());
    }

    proptest! {
        #[test]
        fn no_sliding_window_ever_lets_more_through_than_the_limit(
            steps in prop::collection::vec(0u64..300_000, 1..200),
        ) {
            let mut gate = RequestGate::new(&limits(&["4/s", "20/10s"]));
            let mut now_us = 0;
            let mut passed = Vec::new();
            for step in steps {
                now_us += step;
                if gate.arrive(now_us).is_ok() {
                    passed.push(now_us);
                }
            }
            for (window_us, most) in [(1_000_000, 4), (10_000_000, 20)] {
                for from in &passed {
                    let within = passed.iter().filter(|at| *at >= from && **at - from < window_us);
                    prop_assert!(within.count() <= most);
                }
            }
        }
    }
}
