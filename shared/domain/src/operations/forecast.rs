//! Forecasts what happens to a provider's grants at a given rate.
//!
//! It simulates time from refresh to refresh, as the producer and the queue work: the grant that
//! has been due longest is served first, one at a time. A grant that is served in time is due again
//! after its share of the lifetime. A large collection is sampled, with the rate scaled down alike,
//! which leaves the waits unchanged.

mod sample;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::Timestamp;
use crate::schedule::{RefreshGoal, RefreshSchedule};

pub use sample::GrantSample;

/// The most refreshes that are simulated; beyond that, grants are sampled.
const REFRESHES_MAX: u64 = 2_000_000;
/// The precision of the rate that would save all grants, as a factor.
const RATE_PRECISION: f64 = 1.02;
/// How often the rate is doubled in the search for one that suffices.
const DOUBLINGS_MAX: u32 = 20;
const DAY: Duration = Duration::from_secs(86_400);

/// A grant as input of a forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantProspect {
    /// When it is due.
    pub due_at: Timestamp,
    /// When its refresh token dies without an exchange. None: never.
    pub dies_at: Option<Timestamp>,
    /// When the grant ends in any case, if it does.
    pub ends_at: Option<Timestamp>,
}

/// The forecast of a provider's grants.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Forecast {
    /// The number of grants.
    pub grants: u64,
    /// Grants that are due now.
    pub due_now: u64,
    /// The refreshes a second that the limits allow. None without a limit.
    pub rate_per_s: Option<f64>,
    /// Whether refreshes are stopped now; the forecast takes that into account.
    pub shut: Option<ProviderClosure>,
    /// When the grants that are due now will be done. None if none is due, or there is no limit.
    pub due_now_done_at: Option<Timestamp>,
    /// Grants whose refresh token is already dead.
    pub dead_already: u64,
    /// Grants whose refresh token the application has encrypted: they are not sent.
    pub sealed: u64,
    /// One for each requested horizon.
    pub horizons: Vec<ForecastHorizon>,
    /// What happens on each day from now on.
    pub days: Vec<ForecastDay>,
}

/// Why nothing is refreshed at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderClosure {
    /// A pause that ends then.
    Until(Timestamp),
    /// An open circuit, or a pause without an end: an operator or a success ends it.
    WithoutEnd,
}

/// What will have happened by a horizon.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ForecastHorizon {
    /// The horizon in days.
    pub days: u32,
    /// Refreshes.
    pub refreshes: u64,
    /// Grants whose refresh token dies before it is refreshed.
    pub expiring_unrefreshed: u64,
    /// The least time, in seconds, between a refresh and the death that it prevents. None if no
    /// refreshed token ever dies.
    pub slack_s: Option<i64>,
    /// The rate at which none would expire, if some do at the present one. None if no rate
    /// suffices.
    pub rate_needed_per_s: Option<f64>,
}

/// A day's work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ForecastDay {
    /// Refreshes on that day.
    pub refreshes: u64,
    /// Grants that die on that day without a refresh.
    pub expiring_unrefreshed: u64,
}

/// Runs the forecast. `horizons_days` ascend. `rate_per_s` is what all limits allow together.
/// `shut` says that nothing is refreshed now.
pub fn forecast(
    sample: GrantSample,
    rate_per_s: Option<f64>,
    shut: Option<ProviderClosure>,
    schedule: &RefreshSchedule,
    horizons_days: &[u32],
) -> Forecast {
    let GrantSample { now, grants, due_now, dead_already, sealed, .. } = sample;
    let last_day = horizons_days.last().copied().unwrap_or_default();
    let course = Course::new(sample, shut, schedule, last_day);
    let days = course.run(rate_per_s);
    let horizons = horizons_days.iter().map(|days_ahead| {
        let within = &days[..(*days_ahead as usize).min(days.len())];
        let sum = |of: fn(&Tally) -> u64| within.iter().map(of).sum::<u64>();
        let expiring_unrefreshed = sum(|day| day.expired);
        ForecastHorizon {
            days: *days_ahead,
            refreshes: sum(|day| day.refreshed),
            expiring_unrefreshed,
            slack_s: within.iter().filter_map(|day| day.slack_s).min(),
            rate_needed_per_s: (expiring_unrefreshed > 0
                && shut != Some(ProviderClosure::WithoutEnd))
            .then(|| course.rate_needed(rate_per_s, *days_ahead))
            .flatten(),
        }
    });
    let begins_at = match shut {
        None => Some(now),
        Some(ProviderClosure::Until(until)) => Some(until.max(now)),
        Some(ProviderClosure::WithoutEnd) => None,
    };
    let done_after = rate_per_s.filter(|_| due_now > 0).map(|rate| seconds(due_now, rate));
    let due_now_done_at = begins_at.zip(done_after).map(|(at, after)| at.plus(after));
    Forecast {
        grants,
        due_now,
        rate_per_s,
        shut,
        due_now_done_at,
        dead_already,
        sealed,
        horizons: horizons.collect(),
        days: days.iter().map(ForecastDay::from).collect(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn seconds(requests: u64, rate_per_s: f64) -> Duration {
    Duration::try_from_secs_f64(requests as f64 / rate_per_s).unwrap_or(Duration::MAX)
}

/// The counts of a day during the simulation.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    refreshed: u64,
    expired: u64,
    slack_s: Option<i64>,
}

impl From<&Tally> for ForecastDay {
    fn from(tally: &Tally) -> Self {
        Self { refreshes: tally.refreshed, expiring_unrefreshed: tally.expired }
    }
}

/// The simulated grants.
struct Course<'a> {
    prospects: Vec<GrantProspect>,
    /// How many grants each of these represents.
    weight: u64,
    shut: Option<ProviderClosure>,
    schedule: &'a RefreshSchedule,
    now: Timestamp,
    days: u32,
}

impl<'a> Course<'a> {
    fn new(
        sample: GrantSample,
        shut: Option<ProviderClosure>,
        schedule: &'a RefreshSchedule,
        days: u32,
    ) -> Self {
        let GrantSample { now, kept: mut prospects, weight, .. } = sample;
        let turns = 1 + (DAY * days).as_millis() / wait(schedule, 0).as_millis().max(1);
        let refreshes = prospects.len() as u128 * turns;
        let step = usize::try_from(refreshes.div_ceil(u128::from(REFRESHES_MAX))).unwrap_or(1);
        let step = step.max(1);
        if step > 1 {
            // Every n-th in the order of due times, which keeps the distribution.
            prospects.sort_unstable_by_key(|prospect| prospect.due_at);
            prospects = prospects.into_iter().step_by(step).collect();
        }
        Self { prospects, weight: weight * step as u64, shut, schedule, now, days }
    }

    /// Simulates each day.
    fn run(&self, rate_per_s: Option<f64>) -> Vec<Tally> {
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let spacing = rate_per_s.map_or(Duration::ZERO, |rate| {
            Duration::try_from_secs_f64(self.weight as f64 / rate).unwrap_or(DAY)
        });
        let end = self.now.plus(DAY * self.days);
        let mut days = vec![Tally::default(); self.days as usize];
        let mut waiting: BinaryHeap<Reverse<(Timestamp, u32)>> = BinaryHeap::new();
        let mut dies: Vec<Option<Timestamp>> = Vec::with_capacity(self.prospects.len());
        for (index, prospect) in (0..).zip(&self.prospects) {
            waiting.push(Reverse((prospect.due_at, index)));
            dies.push(prospect.dies_at);
        }
        // In nanoseconds, because milliseconds are too coarse for a high rate.
        let mut free_ns: u128 = match self.shut {
            None => 0,
            Some(ProviderClosure::Until(until)) => until.since(self.now).as_nanos(),
            Some(ProviderClosure::WithoutEnd) => u128::from(u64::MAX),
        };
        while let Some(Reverse((due_at, index))) = waiting.pop() {
            let due_ns = due_at.since(self.now).as_nanos();
            let served_ns = free_ns.max(due_ns);
            let served_at = self.now.plus(of_nanos(served_ns));
            if served_at >= end {
                // A grant that dies before the end and is not served by then is lost as well.
                waiting.push(Reverse((due_at, index)));
                break;
            }
            let place = index as usize;
            if let Some(died_at) = dies[place].filter(|dies_at| *dies_at < served_at) {
                self.note_expired(&mut days, died_at);
                continue;
            }
            free_ns = served_ns + spacing.as_nanos();
            let day = &mut days[self.day_of(served_at)];
            day.refreshed += self.weight;
            let slack = dies[place].map(|dies_at| dies_at.unix_ms() - served_at.unix_ms());
            day.slack_s = [day.slack_s, slack.map(|ms| ms / 1_000)].into_iter().flatten().min();
            let next_at = served_at.plus(wait(self.schedule, index));
            let ends_at = self.prospects[place].ends_at;
            let idle = self.schedule.refresh_idle_lifetime.map(|idle| served_at.plus(idle));
            dies[place] = [idle, ends_at].into_iter().flatten().min();
            // A grant that ends is finished then, and no loss.
            if next_at < end && ends_at.is_none_or(|ends_at| next_at < ends_at) {
                waiting.push(Reverse((next_at, index)));
            }
        }
        for Reverse((_, index)) in waiting {
            if let Some(died_at) = dies[index as usize].filter(|dies_at| *dies_at < end) {
                self.note_expired(&mut days, died_at);
            }
        }
        days
    }

    fn note_expired(&self, days: &mut [Tally], died_at: Timestamp) {
        days[self.day_of(died_at)].expired += self.weight;
    }

    fn day_of(&self, at: Timestamp) -> usize {
        let days = at.since(self.now).as_secs() / DAY.as_secs();
        usize::try_from(days).unwrap_or(usize::MAX).min((self.days as usize).saturating_sub(1))
    }

    /// The approximate rate at which no grant expires within `days`.
    fn rate_needed(&self, rate_per_s: Option<f64>, days: u32) -> Option<f64> {
        let saves_all = |rate: f64| {
            let days = days as usize;
            self.run(Some(rate)).iter().take(days).all(|day| day.expired == 0)
        };
        let mut too_low = rate_per_s?;
        let mut enough = too_low * 2.0;
        let mut doublings = 0;
        while !saves_all(enough) {
            (too_low, enough, doublings) = (enough, enough * 2.0, doublings + 1);
            if doublings == DOUBLINGS_MAX {
                return None;
            }
        }
        while enough / too_low > RATE_PRECISION {
            let middle = (too_low * enough).sqrt();
            if saves_all(middle) { enough = middle } else { too_low = middle }
        }
        Some(enough)
    }
}

fn of_nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How long after a refresh the next one is due, spread over the jitter.
fn wait(schedule: &RefreshSchedule, index: u32) -> Duration {
    let unlimited = Duration::from_secs(60 * 86_400);
    let lifetime = match schedule.keep {
        RefreshGoal::KeepFresh => schedule.access_lifetime,
        RefreshGoal::KeepAlive => schedule.refresh_idle_lifetime.unwrap_or(unlimited),
    };
    // Spread as evenly as a hash would, but deterministic.
    let spread = f64::from(index.wrapping_mul(0x9e37_79b1)) / f64::from(u32::MAX);
    let share =
        f64::from(schedule.refresh_after_percent) - f64::from(schedule.jitter_percent) * spread;
    lifetime.mul_f64(share.max(0.1) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    fn due_now(count: usize, dies_after: Duration) -> Vec<GrantProspect> {
        let dies_at = Some(NOW.plus(dies_after));
        vec![GrantProspect { due_at: NOW, dies_at, ends_at: None }; count]
    }

    fn sample(prospects: Vec<GrantProspect>) -> GrantSample {
        let mut sample = GrantSample::new(NOW);
        prospects.into_iter().for_each(|prospect| sample.add(prospect));
        sample
    }

    #[test]
    fn a_forecast_counts_grants_that_the_rate_cannot_save() {
        // In a day, 86,400 are served at one a second, and 100,000 die at its end.
        let forecast = forecast(
            sample(due_now(100_000, DAY)),
            Some(1.0),
            None,
            &RefreshSchedule::example(),
            &[7, 30],
        );
        let week = &forecast.horizons[0];
        assert!((13_500..=13_700).contains(&week.expiring_unrefreshed), "{week:?}");
        assert_eq!(week.slack_s, Some(0));
        let needed = week.rate_needed_per_s.unwrap();
        assert!((1.15..=1.19).contains(&needed), "{needed}");
        assert_eq!(forecast.due_now_done_at, Some(NOW.plus(Duration::from_secs(100_000))));
    }

    #[test]
    fn at_a_sufficient_rate_nothing_expires_and_slack_remains() {
        let forecast = forecast(
            sample(due_now(3_600, DAY)),
            Some(1.0),
            None,
            &RefreshSchedule::example(),
            &[7, 30],
        );
        let [week, month] = &forecast.horizons[..] else { panic!("two horizons") };
        assert_eq!((week.expiring_unrefreshed, month.expiring_unrefreshed), (0, 0));
        assert_eq!(week.slack_s, Some(86_400 - 3_599));
        assert_eq!(week.rate_needed_per_s, None);
        // Each comes again after five and a half to seven days.
        assert!(week.refreshes > 3_600 && month.refreshes > 4 * 3_600, "{month:?}");
    }

    #[test]
    fn during_a_closure_all_dying_grants_are_lost() {
        let grants = || {
            let mut grants = due_now(100, 3 * DAY);
            grants.extend(due_now(50, 20 * DAY));
            sample(grants)
        };
        let told =
            |shut| forecast(grants(), Some(1.0), shut, &RefreshSchedule::example(), &[7, 30]);
        let expiring = |forecast: &Forecast| {
            forecast.horizons.iter().map(|h| h.expiring_unrefreshed).collect::<Vec<_>>()
        };
        let open = told(Some(ProviderClosure::WithoutEnd));
        assert_eq!(expiring(&open), [100, 150]);
        assert_eq!((open.horizons[0].refreshes, open.due_now_done_at), (0, None));
        assert_eq!(open.horizons[0].rate_needed_per_s, None);
        let paused = told(Some(ProviderClosure::Until(NOW.plus(4 * DAY))));
        assert_eq!(expiring(&paused), [100, 100]);
        assert!(paused.due_now_done_at > Some(NOW.plus(4 * DAY)));
        assert_eq!(expiring(&told(Some(ProviderClosure::Until(NOW)))), [0, 0]);
    }

    #[test]
    fn dead_grants_do_not_count_as_losses() {
        let mut grants = due_now(10, DAY);
        grants[0].dies_at = Some(NOW.minus(DAY));
        let forecast = forecast(sample(grants), Some(1.0), None, &RefreshSchedule::example(), &[7]);
        assert_eq!((forecast.grants, forecast.dead_already, forecast.due_now), (10, 1, 9));
        assert_eq!(forecast.horizons[0].expiring_unrefreshed, 0);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let forecast =
            forecast(sample(due_now(1_000, DAY)), None, None, &RefreshSchedule::example(), &[7]);
        assert_eq!(forecast.horizons[0].slack_s, Some(86_400));
        assert_eq!(forecast.due_now_done_at, None);
    }

    #[test]
    fn a_sample_gives_the_same_forecast() {
        let fresh = RefreshSchedule { keep: RefreshGoal::KeepFresh, ..RefreshSchedule::example() };
        let count = 20_000;
        // Twenty thousand each half hour need eleven a second, and get five.
        let grants = due_now(count, 14 * DAY);
        let few = forecast(sample(grants), Some(5.0), None, &fresh, &[7]);
        assert!(few.horizons[0].refreshes.abs_diff(5 * 7 * 86_400) < 30_000, "{few:?}");
    }

    #[test]
    fn a_large_collection_is_sampled_and_fully_counted() {
        // A third of them cannot be reached in a day.
        let grants = due_now(260_000, DAY);
        let rate = 173_333.0 / 86_400.0;
        let many = forecast(sample(grants), Some(rate), None, &RefreshSchedule::example(), &[2]);
        assert_eq!((many.grants, many.due_now), (260_000, 260_000));
        let expiring = many.horizons[0].expiring_unrefreshed;
        assert!(expiring.abs_diff(86_667) < 900, "{expiring}");
    }
}
