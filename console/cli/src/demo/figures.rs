//! What the workers have counted, read as Prometheus would read it.

use std::collections::BTreeMap;

use evergrant_domain::DeadReason;

/// What the workers have counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Grants refreshed.
    pub(super) refreshed: u64,
    /// Requests that failed and were tried again, or will be.
    pub(super) retried: u64,
    /// Requests that were told to slow down.
    pub(super) throttled: u64,
    /// Requests under way.
    pub(super) in_flight: u64,
    /// Requests that were answered, or whose answer is given up.
    pub(super) requests: u64,
    /// Dead letters by reason.
    pub(super) dead: BTreeMap<String, u64>,
}

impl Figures {
    /// Reads metrics in Prometheus' format.
    pub(super) fn read(text: &str) -> Self {
        let mut figures = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let kind = labels.split("kind=\"").nth(1).and_then(|rest| rest.split('"').next());
            match (name, kind) {
                ("evergrant_outcomes_total", Some(kind)) => figures.count(kind, value),
                ("evergrant_dead_letters_total", Some(kind)) => {
                    *figures.dead.entry(kind.to_owned()).or_default() += value;
                }
                ("evergrant_exchanges_in_flight", _) => figures.in_flight += value,
                _ => {}
            }
        }
        let exhausted = figures.dead_by(DeadReason::AttemptsExhausted);
        figures.retried = figures.retried.saturating_sub(exhausted);
        figures
    }

    fn count(&mut self, outcome: &str, value: u64) {
        match outcome {
            "refreshed" => self.refreshed += value,
            "throttled" => self.throttled += value,
            // Nothing was sent.
            "malformed" => return,
            "grant_dead" => {}
            _ => self.retried += value,
        }
        self.requests += value;
    }

    /// Dead letters with this reason.
    pub(super) fn dead_by(&self, reason: DeadReason) -> u64 {
        self.dead.get(reason.as_str()).copied().unwrap_or_default()
    }

    /// Grants that are refreshed or reported.
    pub(super) fn settled(&self) -> u64 {
        self.refreshed + self.dead.values().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_prometheus_gets() {
        let text = "# TYPE evergrant_outcomes counter\n\
             evergrant_outcomes_total{provider=\"demo\",kind=\"refreshed\"} 40\n\
             evergrant_outcomes_total{provider=\"demo\",kind=\"throttled\"} 3\n\
             evergrant_outcomes_total{provider=\"demo\",kind=\"transient\"} 9\n\
             evergrant_outcomes_total{provider=\"demo\",kind=\"ambiguous\"} 1\n\
             evergrant_outcomes_total{provider=\"demo\",kind=\"malformed\"} 2\n\
             evergrant_dead_letters_total{provider=\"demo\",kind=\"malformed_document\"} 2\n\
             evergrant_dead_letters_total{provider=\"demo\",kind=\"attempts_exhausted\"} 4\n\
             evergrant_exchanges_in_flight 7\n# EOF\n";
        let figures = Figures::read(text);
        assert_eq!((figures.refreshed, figures.throttled, figures.retried), (40, 3, 6));
        assert_eq!((figures.in_flight, figures.requests, figures.settled()), (7, 53, 46));
    }
}
