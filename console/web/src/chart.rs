//! Charts, rendered by the server.

use evergrant_domain::Timestamp;
use evergrant_domain::statistics::{MINUTE, ProviderCounts, minute_of};

use super::fleet_snapshot::Minutes;
use super::format;

const WIDTH: u32 = 720;
const HEIGHT: u32 = 150;
/// Room for the labels of axes.
const LEFT: u32 = 44;
const BOTTOM: u32 = 20;
const TOP: u32 = 8;

/// One step in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) width: String,
    pub(super) good: Part,
    pub(super) retried: Part,
    pub(super) dead: Part,
    /// The tooltip.
    pub(super) title: String,
}

/// A part of a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) y: String,
    pub(super) height: String,
}

/// A grid line or a label of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) at: String,
    pub(super) text: String,
}

/// Counts as stacked bars: refreshed, retried, dead.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) left: u32,
    /// The position of the time axis.
    pub(super) base: u32,
    pub(super) bars: Vec<Bar>,
    pub(super) rows: Vec<Tick>,
    pub(super) columns: Vec<Tick>,
    /// A description for readers who cannot see the chart.
    pub(super) summary: String,
}

impl Chart {
    /// The last hour, by minute.
    pub(super) fn hour(minutes: &Minutes, now: Timestamp) -> Self {
        Self::new("Last hour", minutes, now, 1, 60, 10)
    }

    /// The last day, by quarters of an hour.
    pub(super) fn day(minutes: &Minutes, now: Timestamp) -> Self {
        Self::new("Last day", minutes, now, 15, 96, 16)
    }

    fn new(
        title: &'static str,
        minutes: &Minutes,
        now: Timestamp,
        step_minutes: u32,
        steps: u32,
        label_every: u32,
    ) -> Self {
        let step = MINUTE * step_minutes;
        // Steps begin at round times, and the last one contains the present time.
        let step_ms = i64::from(step_minutes) * 60_000;
        let last = minute_of(now).unix_ms().div_euclid(step_ms) * step_ms;
        let begin = Timestamp::from_unix_ms(last - step_ms * i64::from(steps - 1));
        let counts: Vec<(Timestamp, ProviderCounts)> = (0..steps)
            .map(|index| {
                let from = begin.plus(step * index);
                (from, sum(minutes, from, from.plus(step)))
            })
            .collect();
        let tallest = counts.iter().map(|(_, c)| height_of(c)).max().unwrap_or_default();
        let top = round_up(tallest);
        let scale = Scale { top, step_px: f64::from(WIDTH - LEFT) / f64::from(steps) };
        let bars =
            (0..).zip(&counts).map(|(index, (from, counts))| scale.bar(index, *from, counts));
        let columns = (0..steps).step_by(label_every as usize).map(|index| Tick {
            at: px(scale.x(index)),
            text: format::clock(begin.plus(step * index)).chars().take(5).collect(),
        });
        let mut all = ProviderCounts::default();
        counts.iter().for_each(|(_, counts)| all.add(counts));
        Self {
            title,
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            base: HEIGHT - BOTTOM,
            bars: bars.filter(|bar| !bar.title.is_empty()).collect(),
            rows: [top, top / 2]
                .into_iter()
                .filter(|n| *n > 0)
                .map(|n| Tick { at: px(scale.y(n)), text: short(n) })
                .collect(),
            columns: columns.collect(),
            summary: format!(
                "{} refreshed, {} retried, {} dead",
                format::number(all.refreshed),
                format::number(all.retried),
                format::number(all.dead_in_all())
            ),
        }
    }
}

/// Counts of an interval, of all providers.
pub(super) fn sum(minutes: &Minutes, from: Timestamp, until: Timestamp) -> ProviderCounts {
    let mut all = ProviderCounts::default();
    for counts in minutes.range(from..until).flat_map(|(_, providers)| providers.values()) {
        all.add(counts);
    }
    all
}

fn height_of(counts: &ProviderCounts) -> u64 {
    counts.refreshed + counts.retried + counts.dead_in_all()
}

/// A number in short form, for an axis.
fn short(n: u64) -> String {
    let tenths = |unit: u64, letter| match (n / unit, n % unit * 10 / unit) {
        (whole, 0) => format!("{whole}{letter}"),
        (whole, tenths) => format!("{whole}.{tenths}{letter}"),
    };
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => tenths(1_000, 'k'),
        _ => tenths(1_000_000, 'M'),
    }
}

/// The next of 1, 2, 5, 10, 20, 50, … .
fn round_up(n: u64) -> u64 {
    let mut unit = 1;
    loop {
        for step in [1, 2, 5] {
            if step * unit >= n.max(4) {
                return step * unit;
            }
        }
        unit *= 10;
    }
}

struct Scale {
    top: u64,
    step_px: f64,
}

impl Scale {
    fn x(&self, index: u32) -> f64 {
        f64::from(LEFT) + self.step_px * f64::from(index)
    }

    #[allow(clippy::cast_precision_loss, reason = "a picture")]
    fn y(&self, n: u64) -> f64 {
        let room = f64::from(HEIGHT - BOTTOM - TOP);
        f64::from(HEIGHT - BOTTOM) - room * n as f64 / self.top as f64
    }

    fn bar(&self, index: u32, from: Timestamp, counts: &ProviderCounts) -> Bar {
        let dead = counts.dead_in_all();
        let part = |above: u64, n: u64| {
            let (low, high) = (self.y(above), self.y(above + n));
            Part { y: px(high), height: px(low - high) }
        };
        let title = if height_of(counts) == 0 {
            String::new()
        } else {
            format!(
                "{}: {} refreshed, {} retried, {} dead",
                format::clock(from),
                counts.refreshed,
                counts.retried,
                dead
            )
        };
        Bar {
            x: px(self.x(index)),
            width: px((self.step_px - 1.0).max(1.0)),
            dead: part(0, dead),
            retried: part(dead, counts.retried),
            good: part(dead + counts.retried, counts.refreshed),
            title,
        }
    }
}

fn px(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bars_height_shows_its_count() {
        let now = Timestamp::from_unix_ms(1_700_000_040_000);
        let counts =
            |refreshed| ProviderCounts { refreshed, retried: 2, ..ProviderCounts::default() };
        let at = |minutes_ago: u32| minute_of(now).minus(MINUTE * minutes_ago);
        let provider: evergrant_domain::ProviderId = "p".parse().unwrap();
        let minutes: Minutes = [(at(0), 8), (at(59), 3), (at(60), 100)]
            .map(|(minute, n)| (minute, [(provider.clone(), counts(n))].into()))
            .into();
        let chart = Chart::hour(&minutes, now);
        assert_eq!(chart.bars.len(), 2, "what is older is not shown");
        assert_eq!(chart.summary, "11 refreshed, 4 retried, 0 dead");
        assert_eq!(chart.rows[0].text, "10");
        // Ten of ten take all of the room; eight and two share it.
        assert_eq!(
            (chart.bars[1].good.height.as_str(), chart.bars[1].good.y.as_str()),
            ("97.6", "8.0")
        );
        assert_eq!(chart.bars[1].retried.height, "24.4");
        let day = Chart::day(&minutes, now);
        assert_eq!(day.summary, "111 refreshed, 6 retried, 0 dead");
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (n, top) in [(0, 5), (4, 5), (6, 10), (11, 20), (21, 50), (1_001, 2_000)] {
            assert_eq!(round_up(n), top, "{n}");
        }
    }

    #[test]
    fn an_axis_names_its_numbers_shortly() {
        for (n, text) in
            [(5, "5"), (500, "500"), (2_500, "2.5k"), (50_000, "50k"), (1_000_000, "1M")]
        {
            assert_eq!(short(n), text);
        }
    }
}
