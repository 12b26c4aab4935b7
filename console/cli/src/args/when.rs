//! A time as an operator says it.

use evergrant_domain::Timestamp;
use evergrant_ports::wall_clock;

/// Reads a time, or how long ago it was.
pub(super) fn when(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(wall_clock().minus(ago));
    }
    let wrong = |_| "neither a time such as 2026-01-31T12:00:00Z nor how long ago, such as 2h";
    text.parse().map_err(wrong).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_absolute_or_so_long_ago() {
        let absolute = when("2026-01-31T12:00:00Z").unwrap();
        assert_eq!(absolute.to_string(), "2026-01-31T12:00:00.000Z");
        let before = wall_clock();
        let ago = when("1h 30m").unwrap();
        let after = wall_clock();
        let then = |now: Timestamp| now.minus(Duration::from_secs(5_400));
        assert!((then(before)..=then(after)).contains(&ago), "{ago}");
        assert!(when("yesterday").unwrap_err().contains("2h"));
    }
}
