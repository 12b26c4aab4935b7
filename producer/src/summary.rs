//! The summary of a pass.

use std::fmt;

use evergrant_domain::ProviderId;

use crate::PassError;

/// What one pass did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassSummary {
    /// Documents that had no state of Evergrant and have it now.
    pub adopted: u64,
    /// Grants that are active again because their user has signed in again.
    pub revived: u64,
    /// Whether the pass only counted.
    pub dry_run: bool,
    /// Each provider's part.
    pub providers: Vec<ProviderSummary>,
    /// Failures outside the providers' parts: adoption or the sweep.
    pub failures: Vec<PassError>,
}

/// What a pass did for one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSummary {
    /// The provider.
    pub provider: ProviderId,
    /// Jobs published, or counted in a dry run.
    pub published: u64,
    /// The provider's queues are full and more is due.
    pub more_is_due: bool,
    /// Documents whose jobs are published, but which the store refuses to mark as queued.
    pub unmarked: u64,
    /// Why this provider's part ended early.
    pub failure: Option<PassError>,
}

impl ProviderSummary {
    pub(crate) const fn new(provider: ProviderId) -> Self {
        Self { provider, published: 0, more_is_due: false, unmarked: 0, failure: None }
    }

    /// Adds a later part of the same pass.
    pub(crate) fn and_then(self, later: Self) -> Self {
        Self {
            published: self.published + later.published,
            unmarked: self.unmarked + later.unmarked,
            failure: later.failure.or(self.failure),
            ..later
        }
    }

    /// Whether anything was done or is left to do.
    pub(crate) const fn is_eventful(&self) -> bool {
        self.published > 0 || self.more_is_due || self.unmarked > 0 || self.failure.is_some()
    }
}

impl PassSummary {
    /// Jobs published, or counted, for all providers.
    pub fn published(&self) -> u64 {
        self.providers.iter().map(|provider| provider.published).sum()
    }

    /// Whether something failed. What the summary counts is done nevertheless.
    pub fn is_partial(&self) -> bool {
        !self.failures.is_empty() || self.providers.iter().any(|p| p.failure.is_some())
    }

    /// A failure, if every provider's part failed.
    pub fn total_failure(&self) -> Option<&PassError> {
        let mut failures = self.providers.iter().map(|provider| provider.failure.as_ref());
        let first = failures.next().flatten()?;
        (failures.all(|failure| failure.is_some()) && self.published() == 0).then_some(first)
    }
}

impl fmt::Display for ProviderSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.published)?;
        if self.more_is_due {
            write!(f, " (its queues are full; more is due)")?;
        }
        if self.unmarked > 0 {
            write!(f, " (the store refuses to mark {} of them)", self.unmarked)?;
        }
        if let Some(failure) = &self.failure {
            write!(f, " (failed: {failure})")?;
        }
        Ok(())
    }
}

impl fmt::Display for PassSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would publish" } else { "published" };
        write!(f, "{verb} {} jobs", self.published())?;
        for provider in &self.providers {
            write!(f, ", {provider}")?;
        }
        if self.adopted > 0 {
            write!(f, "; adopted {} documents", self.adopted)?;
        }
        if self.revived > 0 {
            write!(f, "; {} users have signed in again", self.revived)?;
        }
        for failure in &self.failures {
            write!(f, "; failed: {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use evergrant_ports::QueueError;

    use super::*;

    fn provider(name: &str) -> ProviderSummary {
        ProviderSummary::new(name.parse().unwrap())
    }

    fn summary(providers: Vec<ProviderSummary>) -> PassSummary {
        PassSummary { adopted: 0, revived: 0, dry_run: false, providers, failures: Vec::new() }
    }

    fn failure() -> Option<PassError> {
        let reason = "no leader".to_owned();
        Some(PassError::Queue(QueueError::Unavailable { operation: "depth", reason }))
    }

    #[test]
    fn a_summary_says_in_one_line_what_was_done_and_what_is_left() {
        let mut autodesk = provider("autodesk");
        autodesk.published = 2_000;
        autodesk.more_is_due = true;
        let summary = PassSummary { adopted: 5, revived: 2, ..summary(vec![autodesk]) };
        assert_eq!(
            summary.to_string(),
            "published 2000 jobs, autodesk: 2000 (its queues are full; more is due); \
             adopted 5 documents; 2 users have signed in again"
        );
        assert!(!summary.is_partial());
    }

    #[test]
    fn a_summary_says_which_provider_failed() {
        let broken = ProviderSummary { failure: failure(), ..provider("a") };
        let works = ProviderSummary { published: 3, ..provider("b") };
        let partial = summary(vec![broken.clone(), works]);
        assert!(partial.is_partial() && partial.total_failure().is_none());
        let words = partial.to_string();
        assert!(words.contains("a: 0 (failed: depth: ") && words.contains("b: 3"), "{words}");
        assert!(summary(vec![broken]).total_failure().is_some());
    }
}
