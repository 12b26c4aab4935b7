//! A bounded sample of a provider's grants.

use super::{GrantProspect, Timestamp};

/// The most grants that are kept.
const KEPT_MAX: usize = 250_000;

/// The grants of a provider: all are counted, and every n-th is kept for the simulation. So memory
/// does not grow with their number.
#[derive(Debug)]
pub struct GrantSample {
    pub(super) now: Timestamp,
    pub(super) grants: u64,
    pub(super) due_now: u64,
    pub(super) dead_already: u64,
    pub(super) sealed: u64,
    /// Kept grants that are not dead.
    pub(super) kept: Vec<GrantProspect>,
    /// How many grants each kept one represents.
    pub(super) weight: u64,
    max_kept: usize,
}

impl GrantSample {
    /// An empty sample, taken at `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self::of_at_most(KEPT_MAX, now)
    }

    pub(super) const fn of_at_most(max_kept: usize, now: Timestamp) -> Self {
        Self {
            now,
            grants: 0,
            due_now: 0,
            dead_already: 0,
            sealed: 0,
            kept: Vec::new(),
            weight: 1,
            max_kept,
        }
    }

    /// Notes that a grant was not refreshed because the application has sealed its token.
    pub const fn note_sealed(&mut self) {
        self.sealed += 1;
    }

    /// Adds a grant.
    pub fn add(&mut self, prospect: GrantProspect) {
        self.grants += 1;
        if prospect.dies_at.is_some_and(|dies_at| dies_at <= self.now) {
            self.dead_already += 1;
            return;
        }
        let alive = self.grants - self.dead_already;
        self.due_now += u64::from(prospect.due_at <= self.now);
        if !(alive - 1).is_multiple_of(self.weight) {
            return;
        }
        self.kept.push(prospect);
        if self.kept.len() > self.max_kept {
            self.weight *= 2;
            let mut is_kept = false;
            self.kept.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_000);

    #[test]
    fn all_grants_count_and_the_kept_ones_spread_evenly() {
        let mut sample = GrantSample::of_at_most(100, NOW);
        for ms in 0..10_000 {
            let dies_at = (ms % 4 == 0).then_some(NOW);
            sample.add(GrantProspect {
                due_at: Timestamp::from_unix_ms(ms),
                dies_at,
                ends_at: None,
            });
        }
        assert_eq!((sample.grants, sample.dead_already), (10_000, 2_500));
        assert_eq!(sample.due_now, 750);
        assert!((50..=100).contains(&sample.kept.len()));
        assert_eq!(sample.kept.len() as u64, 7_500_u64.div_ceil(sample.weight));
        let gap = |pair: &[GrantProspect]| pair[1].due_at.unix_ms() - pair[0].due_at.unix_ms();
        let gaps: Vec<_> = sample.kept.windows(2).map(gap).collect();
        let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
        assert!(most - least <= 2, "{gaps:?}");
    }
}
