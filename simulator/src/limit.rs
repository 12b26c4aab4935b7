//! A rate limit as people write it: `500/min`, `10/s`, `300/60s`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most requests a window may allow: the log of a limit holds one time for each.
pub const LIMIT_COUNT_MAX: u32 = 1_000_000;
/// The longest window, in seconds.
pub const LIMIT_WINDOW_S_MAX: u64 = 86_400;

/// At most `count` requests in any sliding window of `window_us` microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RequestLimit {
    /// Requests that one window allows.
    pub count: u32,
    /// Length of the window, in microseconds.
    pub window_us: u64,
}

/// A limit that does not read as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit {text:?}: {why}; write it as 10/s, 500/min or 300/60s")]
pub struct LimitError {
    text: String,
    why: &'static str,
}

impl FromStr for RequestLimit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let fail = |why| LimitError { text: text.chars().take(40).collect(), why };
        let (count, window) = text.trim().split_once('/').ok_or(fail("has no '/'"))?;
        let count: u32 = count.trim().parse().map_err(|_| fail("the count is not a number"))?;
        if count == 0 || count > LIMIT_COUNT_MAX {
            return Err(fail("the count must be from 1 to 1000000"));
        }
        let window_s = window_s(window.trim()).ok_or(fail("the window is not a time"))?;
        if window_s == 0 || window_s > LIMIT_WINDOW_S_MAX {
            return Err(fail("the window must be from 1 second to 24 hours"));
        }
        Ok(Self { count, window_us: window_s * 1_000_000 })
    }
}

/// Seconds of `s`, `min`, `60s`, `2h` and the like.
fn window_s(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (times, unit) = text.split_at(digits);
    let times: u64 = if times.is_empty() { 1 } else { times.parse().ok()? };
    let unit_s = match unit.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3_600,
        _ => return None,
    };
    times.checked_mul(unit_s)
}

impl TryFrom<String> for RequestLimit {
    type Error = LimitError;

    fn try_from(text: String) -> Result<Self, LimitError> {
        text.parse()
    }
}

impl From<RequestLimit> for String {
    fn from(limit: RequestLimit) -> Self {
        limit.to_string()
    }
}

impl fmt::Display for RequestLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.window_us / 1_000_000 {
            1 => write!(f, "{}/s", self.count),
            60 => write!(f, "{}/min", self.count),
            window_s => write!(f, "{}/{window_s}s", self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_as_people_write_them() {
        for (text, count, window_s) in
            [("500/min", 500, 60), ("10/s", 10, 1), ("300/60s", 300, 60), (" 7 / 2h ", 7, 7_200)]
        {
            let limit: RequestLimit = text.parse().unwrap();
            assert_eq!(limit, RequestLimit { count, window_us: window_s * 1_000_000 }, "{text}");
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }

    #[test]
    fn absurd_limits_are_refused_with_what_is_wrong() {
        for text in ["", "10", "0/s", "-1/s", "10/fortnight", "10/0s", "9999999/s", "1/99h", "1/"] {
            let error = text.parse::<RequestLimit>().unwrap_err().to_string();
            assert!(error.contains("500/min"), "{error}");
        }
    }
}
