//! Raw rates, and the bound that follows from them.

use crate::report::Report;

/// The rate of a stage alone, in documents a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) stage: &'static str,
    pub(crate) per_s: f64,
}

/// Stages of one pipeline, each measured alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rates(pub(crate) Vec<Rate>);

impl Rates {
    /// The rate of all stages together: they share the machine's cores, so their times add up.
    pub(crate) fn bound_per_s(&self) -> f64 {
        1.0 / self.0.iter().map(|rate| 1.0 / rate.per_s).sum::<f64>()
    }

    /// The mean of measurements before and after: the speed of a shared machine changes, and what
    /// lies in between should be compared with both. Times are averaged, not rates.
    pub(crate) fn mean(&self, after: &Self) -> Self {
        let stages = self.0.iter().zip(&after.0);
        let mean = |(before, after): (&Rate, &Rate)| Rate {
            stage: before.stage,
            per_s: 2.0 / (1.0 / before.per_s + 1.0 / after.per_s),
        };
        Self(stages.map(mean).collect())
    }

    /// The stage that takes most of the time.
    pub(crate) fn slowest(&self) -> &'static str {
        let slowest = self.0.iter().min_by(|a, b| a.per_s.total_cmp(&b.per_s));
        slowest.map_or("none", |rate| rate.stage)
    }

    /// Adds the raw rates, the slowest stage and the bound.
    pub(crate) fn report(&self, report: &mut Report) {
        for rate in &self.0 {
            report.number(&format!("raw_{}_per_s", rate.stage), rate.per_s);
        }
        report.text("slowest_raw_stage", self.slowest());
        report.number("bound_per_s", self.bound_per_s());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_all_stages_add_up() {
        let rates = Rates(vec![
            Rate { stage: "consume", per_s: 1_000.0 },
            Rate { stage: "commit", per_s: 250.0 },
        ]);
        assert!((rates.bound_per_s() - 200.0).abs() < 1e-9);
        assert_eq!(rates.slowest(), "commit");
    }

    #[test]
    fn a_measurement_is_compared_with_those_before_and_after() {
        let rates = |per_s| Rates(vec![Rate { stage: "commit", per_s }]);
        let mean = rates(300.0).mean(&rates(100.0));
        assert!((mean.bound_per_s() - 150.0).abs() < 1e-9);
    }
}
