//! The retry ladder: the delays of failed jobs.

use std::time::Duration;

/// The delays that a job can wait for, shortest first. Each is a queue of its own, so they are few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    rungs: Vec<Duration>,
}

/// Delays that do not form a ladder.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a retry ladder has 1 to 16 delays, each at least 100ms, at most 7days and longer than the one before"
)]
pub struct InvalidLadder;

impl Ladder {
    /// A ladder of `rungs`.
    ///
    /// # Errors
    /// [`InvalidLadder`] if there are none or too many, or they do not ascend.
    pub fn new(rungs: Vec<Duration>) -> Result<Self, InvalidLadder> {
        const WEEK: Duration = Duration::from_secs(7 * 86_400);
        let ascends = rungs.windows(2).all(|pair| pair[0] < pair[1]);
        let in_bounds = rungs.iter().all(|rung| (Duration::from_millis(100)..=WEEK).contains(rung));
        if ascends && in_bounds && (1..=16).contains(&rungs.len()) {
            Ok(Self { rungs })
        } else {
            Err(InvalidLadder)
        }
    }

    /// The delays, shortest first.
    pub fn rungs(&self) -> &[Duration] {
        &self.rungs
    }

    /// The delay before the attempt after `failed_attempts` failures (at least 1): each is longer
    /// than the one before, up to the last rung.
    pub fn after_failure(&self, failed_attempts: u32) -> Duration {
        let index = usize::try_from(failed_attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        self.rungs[index.min(self.rungs.len() - 1)]
    }

    /// The shortest rung that is not shorter than `delay`; the longest if none is.
    pub fn at_least(&self, delay: Duration) -> Duration {
        let found = self.rungs.iter().find(|&&rung| rung >= delay);
        *found.unwrap_or(&self.rungs[self.rungs.len() - 1])
    }

    /// The rung to try after `refused` rungs did not accept the job: the next longer one each time,
    /// and after the longest the shortest.
    pub fn detour(&self, delay: Duration, refused: usize) -> Duration {
        let wanted = self.at_least(delay);
        let first = self.rungs.iter().position(|&rung| rung == wanted).unwrap_or_default();
        self.rungs[(first + refused % self.rungs.len()) % self.rungs.len()]
    }

    /// The longest rung that is not longer than `delay`; the shortest if none is. For waits that
    /// must not be exceeded, where an early return only costs a lookup.
    pub fn at_most(&self, delay: Duration) -> Duration {
        *self.rungs.iter().rfind(|&&rung| rung <= delay).unwrap_or(&self.rungs[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder() -> Ladder {
        Ladder::new([1, 5, 60].map(Duration::from_secs).to_vec()).unwrap()
    }

    #[test]
    fn each_failure_climbs_a_rung_and_the_last_one_repeats() {
        let delays =
            [0, 1, 2, 3, 4, u32::MAX].map(|failed| ladder().after_failure(failed).as_secs());
        assert_eq!(delays, [1, 1, 5, 60, 60, 60]);
    }

    #[test]
    fn a_delay_is_rounded_to_a_rung_that_exists() {
        let up = [0, 1, 2, 59, 61].map(|s| ladder().at_least(Duration::from_secs(s)).as_secs());
        assert_eq!(up, [1, 1, 5, 60, 60]);
        let down = [0, 1, 4, 59, 61].map(|s| ladder().at_most(Duration::from_secs(s)).as_secs());
        assert_eq!(down, [1, 1, 1, 5, 60]);
    }

    #[test]
    fn a_rung_that_refuses_is_skipped_for_the_next() {
        let detours =
            [0, 1, 2, 3].map(|refused| ladder().detour(Duration::from_secs(4), refused).as_secs());
        assert_eq!(detours, [5, 60, 1, 5]);
    }

    #[test]
    fn a_ladder_ascends() {
        assert_eq!(Ladder::new(vec![]), Err(InvalidLadder));
        assert_eq!(Ladder::new([5, 1].map(Duration::from_secs).to_vec()), Err(InvalidLadder));
        assert_eq!(Ladder::new(vec![Duration::ZERO]), Err(InvalidLadder));
    }
}
