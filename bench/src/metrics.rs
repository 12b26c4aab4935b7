//! Reads a worker's `/metrics`.

/// The samples of one scrape: names with labels, and values.
pub(crate) struct Samples(Vec<(String, f64)>);

/// A histogram's cumulative buckets: upper bound in seconds, and the number of observations up to
/// it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Buckets(Vec<(f64, f64)>);

impl Samples {
    /// Parses the Prometheus text format.
    pub(crate) fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// The sum of a metric over its labels.
    pub(crate) fn sum(&self, metric: &str) -> f64 {
        let is_it = |name: &str| name.split('{').next() == Some(metric);
        self.0.iter().filter(|(name, _)| is_it(name)).map(|(_, value)| value).sum()
    }

    /// Documents that were committed.
    pub(crate) fn commits(&self) -> u64 {
        self.sum("evergrant_commits_total") as u64
    }

    /// A histogram without labels.
    pub(crate) fn histogram(&self, metric: &str) -> Buckets {
        let prefix = format!("{metric}_bucket{{le=\"");
        let buckets = self.0.iter().filter_map(|(name, count)| {
            let bound = name.strip_prefix(&prefix)?.strip_suffix("\"}")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), *count))
        });
        Buckets(buckets.collect())
    }
}

impl Buckets {
    /// The number of observations.
    pub(crate) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The bounds of the bucket with this quantile, and an estimate that assumes an even
    /// distribution in the bucket.
    pub(crate) fn quantile(&self, quantile: f64) -> Quantile {
        let rank = quantile * self.count();
        let mut below = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && count > below.1 {
                let share = (rank - below.1) / (count - below.1);
                return Quantile { estimate: below.0 + (bound - below.0) * share, at_most: bound };
            }
            below = (bound, count);
        }
        Quantile { estimate: f64::NAN, at_most: f64::INFINITY }
    }
}

/// A quantile, as exact as a histogram is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantile {
    pub(crate) estimate: f64,
    /// The upper bound of its bucket: certain.
    pub(crate) at_most: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP evergrant_commits Documents written.
# TYPE evergrant_commits counter
evergrant_commits_total 42
evergrant_outcomes_total{provider="p",kind="refreshed"} 40
evergrant_outcomes_total{provider="p",kind="throttled"} 2
evergrant_wait_seconds_sum 0.5
evergrant_wait_seconds_bucket{le="0.002"} 10
evergrant_wait_seconds_bucket{le="0.004"} 90
evergrant_wait_seconds_bucket{le="+Inf"} 100
# EOF
"#;

    #[test]
    fn samples_are_summed_over_their_labels() {
        let samples = Samples::read(TEXT);
        assert_eq!(samples.commits(), 42);
        assert!((samples.sum("evergrant_outcomes_total") - 42.0).abs() < 1e-9);
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let buckets = Samples::read(TEXT).histogram("evergrant_wait_seconds");
        assert!((buckets.count() - 100.0).abs() < 1e-9);
        let median = buckets.quantile(0.5);
        assert!((median.estimate - 0.003).abs() < 1e-9 && median.at_most < 0.005, "{median:?}");
        assert!(buckets.quantile(0.99).at_most.is_infinite());
    }
}
