//! Rate limits, as operators write them and as the schedule keeps them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of requests in a time: `500/min`, `10/s`, `1000/5min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit {
    requests: u32,
    per: Duration,
}

/// A text that is not a limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a limit is a whole number from 1 to 1000000, a slash and a time from 1ms to 1day: \
     \"500/min\", \"10/s\" or \"1000/5min\""
)]
pub struct InvalidLimit;

impl RateLimit {
    /// The number of requests allowed in [`Self::per`].
    pub const fn requests(self) -> u32 {
        self.requests
    }

    /// The length of the window, which may start at any time.
    pub const fn per(self) -> Duration {
        self.per
    }

    /// The time between two requests that keeps this limit in every window, at a provider where
    /// each request may arrive up to `tolerance` later than its slot.
    ///
    /// The first and the last of `requests` + 1 consecutive slots are `per + tolerance` apart. So
    /// even if the first request arrives late and the last one does not, they are in different
    /// windows. There are no bursts after idle time, because they would have to be taken from the
    /// steady rate.
    pub fn spacing(self, tolerance: Duration) -> Duration {
        let window_ns = self.per.saturating_add(tolerance).as_nanos();
        let spacing_ns = window_ns.div_ceil(u128::from(self.requests.max(1)));
        Duration::from_nanos(u64::try_from(spacing_ns).unwrap_or(u64::MAX))
    }

    /// Whether keeping this limit also keeps `other`, so that `other` never binds.
    pub fn implies(self, other: Self) -> bool {
        let windows = other.per.as_nanos().div_ceil(self.per.as_nanos().max(1));
        u128::from(self.requests).saturating_mul(windows) <= u128::from(other.requests)
    }
}

/// Two limits of which one is always stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{never} never binds beside {always}, which is always stricter: leave one out, or correct one"
)]
pub struct LimitContradiction {
    /// The stricter one.
    pub always: RateLimit,
    /// The one that never binds.
    pub never: RateLimit,
}

/// Two of `limits` that contradict each other, if there are any.
pub fn contradiction(limits: &[RateLimit]) -> Option<LimitContradiction> {
    limits.iter().enumerate().find_map(|(index, always)| {
        let (before, from) = limits.split_at(index);
        let mut others = before.iter().chain(&from[1..]);
        let never = others.find(|other| always.implies(**other))?;
        Some(LimitContradiction { always: *always, never: *never })
    })
}

impl FromStr for RateLimit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, InvalidLimit> {
        let (requests, per) = text.split_once('/').ok_or(InvalidLimit)?;
        let requests = requests.trim().parse().map_err(|_| InvalidLimit)?;
        let per = per.trim();
        let counted = if per.starts_with(|c: char| c.is_ascii_digit()) {
            per.to_owned()
        } else {
            format!("1{per}")
        };
        let per = humantime::parse_duration(&counted).map_err(|_| InvalidLimit)?;
        let in_bounds = (1..=1_000_000).contains(&requests)
            && (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&per);
        if in_bounds { Ok(Self { requests, per }) } else { Err(InvalidLimit) }
    }
}

impl TryFrom<String> for RateLimit {
    type Error = InvalidLimit;

    fn try_from(text: String) -> Result<Self, InvalidLimit> {
        text.parse()
    }
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> Self {
        limit.to_string()
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = humantime::format_duration(self.per).to_string();
        let per = per.replace(' ', "");
        let per = if per == "1m" { "min".to_owned() } else { per };
        write!(
            f,
            "{}/{}",
            self.requests,
            per.strip_prefix('1')
                .filter(|unit| !unit.starts_with(|c: char| c.is_ascii_digit()))
                .unwrap_or(&per)
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_parse_in_common_notations() {
        for (text, requests, per_ms) in [
            ("500/min", 500, 60_000),
            ("10/s", 10, 1_000),
            ("1000/5min", 1000, 300_000),
            ("1/h", 1, 3_600_000),
        ] {
            let limit: RateLimit = text.parse().unwrap();
            assert_eq!((limit.requests(), limit.per()), (requests, Duration::from_millis(per_ms)));
            assert_eq!(limit.to_string().parse(), Ok(limit), "{limit}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in ["0/s", "-1/s", "10", "10/", "/s", "10/0s", "1.5/s", "9999999/s", "10/year", ""]
        {
            assert_eq!(text.parse::<RateLimit>(), Err(InvalidLimit), "{text}");
        }
    }

    #[test]
    fn of_two_limits_one_may_never_bind() {
        let found = |limits: &[&str]| {
            let limits: Vec<RateLimit> =
                limits.iter().map(|limit| limit.parse().unwrap()).collect();
            contradiction(&limits).map(|found| found.never.to_string())
        };
        for both_bind in [vec![], vec!["10/s"], vec!["10/s", "300/min"], vec!["100/s", "1000/h"]] {
            assert_eq!(found(&both_bind), None, "{both_bind:?}");
        }
        assert_eq!(found(&["10/s", "1000/min"]).as_deref(), Some("1000/min"));
        assert_eq!(found(&["500/min", "100/min"]).as_deref(), Some("500/min"));
        assert_eq!(found(&["20/s", "5/min"]).as_deref(), Some("20/s"));
        assert_eq!(found(&["10/s", "10/s"]).as_deref(), Some("10/s"));
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_limit(
            requests in 1_u32..50, per_ms in 1_u64..10_000, tolerance_ms in 0_u64..50,
            late in prop::collection::vec(0.0..1.0_f64, 200),
        ) {
            let limit = RateLimit { requests, per: Duration::from_millis(per_ms) };
            let tolerance = Duration::from_millis(tolerance_ms);
            let spacing = limit.spacing(tolerance);
            let arrivals = late.iter().zip(0_u32..).map(|(late, place)| {
                spacing * place + tolerance.mul_f64(*late)
            });
            let mut arrivals: Vec<Duration> = arrivals.collect();
            arrivals.sort();
            for window in arrivals.windows(requests as usize + 1) {
                let apart = window[window.len() - 1] - window[0];
                prop_assert!(apart >= limit.per, "{} in {apart:?}", window.len());
            }
        }

        #[test]
        fn a_limit_that_implies_another_keeps_it(
            requests in 1_u32..20, per_ms in 1_u64..500, other in 1_u32..200, other_ms in 1_u64..2_000,
        ) {
            let limit = RateLimit { requests, per: Duration::from_millis(per_ms) };
            let other = RateLimit { requests: other, per: Duration::from_millis(other_ms) };
            if limit.implies(other) {
                // The worst case under the first limit: all requests at the beginning of each
                // window.
                let windows = other_ms.div_ceil(per_ms);
                prop_assert!(u64::from(requests) * windows <= u64::from(other.requests));
                prop_assert!(limit.spacing(Duration::ZERO) >= other.spacing(Duration::ZERO));
            }
        }
    }
}
