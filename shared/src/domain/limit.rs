//! A rate limit as operators write it, and as it is kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// So many requests in so long: `500/min`, `10/s`, `1000/5min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit {
    requests: u32,
    per: Duration,
}

/// A text that is no limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a limit is a whole number from 1 to 1000000, a slash and a time from 1ms to 1day: \
     \"500/min\", \"10/s\" or \"1000/5min\""
)]
pub struct InvalidLimit;

/// How a limit is kept: requests at least `spacing` apart, but for `burst` at once after idling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The time between two requests.
    pub spacing: Duration,
    /// How many may be sent at once after idling; at least 1.
    pub burst: u32,
}

impl Limit {
    /// The number of requests allowed in [`Self::per`].
    pub const fn requests(self) -> u32 {
        self.requests
    }

    /// The length of the window, wherever it starts.
    pub const fn per(self) -> Duration {
        self.per
    }

    /// The cell that keeps this limit in every window, wherever it starts.
    ///
    /// A cell lets `burst + per ÷ spacing` requests into a window of length `per`, so the spacing
    /// is `per ÷ (requests − burst)`. The burst is one more than what falls into 5 ms, since timers
    /// are coarse and what a late timer misses would be lost without it.
    pub fn cell(self) -> Cell {
        const TICK_MS: u128 = 5;
        let per_tick = u128::from(self.requests) * TICK_MS / self.per.as_millis().max(1);
        let burst = u32::try_from(per_tick).unwrap_or(u32::MAX).saturating_add(1);
        let burst = burst.min(self.requests.div_ceil(4));
        let spaced = self.requests.saturating_sub(burst).max(1);
        let spacing_ns = self.per.as_nanos().div_ceil(u128::from(spaced));
        Cell { spacing: Duration::from_nanos(u64::try_from(spacing_ns).unwrap_or(u64::MAX)), burst }
    }
}

impl FromStr for Limit {
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

impl TryFrom<String> for Limit {
    type Error = InvalidLimit;

    fn try_from(text: String) -> Result<Self, InvalidLimit> {
        text.parse()
    }
}

impl From<Limit> for String {
    fn from(limit: Limit) -> Self {
        limit.to_string()
    }
}

impl fmt::Display for Limit {
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
    fn limits_are_read_as_people_write_them() {
        for (text, requests, per_ms) in [
            ("500/min", 500, 60_000),
            ("10/s", 10, 1_000),
            ("1000/5min", 1000, 300_000),
            ("1/h", 1, 3_600_000),
        ] {
            let limit: Limit = text.parse().unwrap();
            assert_eq!((limit.requests(), limit.per()), (requests, Duration::from_millis(per_ms)));
            assert_eq!(limit.to_string().parse(), Ok(limit), "{limit}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in ["0/s", "-1/s", "10", "10/", "/s", "10/0s", "1.5/s", "9999999/s", "10/year", ""]
        {
            assert_eq!(text.parse::<Limit>(), Err(InvalidLimit), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_window_wherever_it_starts_holds_more_than_the_limit(
            requests in 2_u32..100_000, per_ms in 1_u64..600_000
        ) {
            let limit = Limit { requests, per: Duration::from_millis(per_ms) };
            let cell = limit.cell();
            let in_window = u128::from(cell.burst) + limit.per.as_nanos() / cell.spacing.as_nanos().max(1);
            prop_assert!(cell.burst >= 1);
            prop_assert!(in_window <= u128::from(requests), "{in_window} > {requests}");
        }
    }
}
