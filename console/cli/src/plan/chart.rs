//! A forecast as bars, one for each day.

use evergrant_domain::forecast::{Forecast, ForecastDay};

/// The longest bar, in characters.
const WIDTH: u64 = 40;
/// Days that are shown.
const DAYS: usize = 14;

/// A line for each of the next days. The longest bar is what the limits allow in a day or, without
/// limits, the busiest day.
pub(super) fn lines(forecast: &Forecast) -> Vec<String> {
    let days = &forecast.days[..forecast.days.len().min(DAYS)];
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
    let allowed = forecast.rate_per_s.map(|rate| (rate * 86_400.0) as u64);
    let busiest = days.iter().map(|day| day.refreshes).max().unwrap_or_default();
    let longest = allowed.unwrap_or(busiest).max(busiest).max(1);
    (1..).zip(days).map(|(number, day)| line(number, day, longest, allowed)).collect()
}

fn line(number: u32, day: &ForecastDay, longest: u64, allowed: Option<u64>) -> String {
    let filled = (day.refreshes * WIDTH).div_ceil(longest).min(WIDTH);
    let bar = "█".repeat(usize::try_from(filled).unwrap_or_default());
    let share = match allowed {
        Some(allowed) if allowed > 0 => format!(", {} %", day.refreshes * 100 / allowed),
        _ => String::new(),
    };
    let lost = match day.expiring_unrefreshed {
        0 => String::new(),
        expiring => format!("   {expiring} EXPIRE"),
    };
    format!("  day {number:>2} {bar:<40} {}{share}{lost}", day.refreshes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_as_long_as_its_share_of_what_the_limits_allow() {
        let day = |refreshes, expiring_unrefreshed| ForecastDay { refreshes, expiring_unrefreshed };
        let forecast = Forecast {
            grants: 1,
            due_now: 1,
            rate_per_s: Some(1.0),
            shut: None,
            due_now_done_at: None,
            dead_already: 0,
            sealed: 0,
            horizons: Vec::new(),
            days: vec![day(86_400, 7), day(43_200, 0), day(0, 0)],
        };
        let bars: Vec<_> = lines(&forecast).iter().map(|line| line.matches('█').count()).collect();
        assert_eq!(bars, [40, 20, 0]);
        assert!(lines(&forecast)[0].ends_with("86400, 100 %   7 EXPIRE"));
    }
}
