//! What a pass did.

use std::fmt;

use evergrant_shared::domain::ProviderId;

/// What a pass did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Documents that had no state of Evergrant's and have one now.
    pub adopted: u64,
    /// Grants that are active again since their user has signed in again.
    pub revived: u64,
    /// Nothing was published, only counted.
    pub dry_run: bool,
    /// Each provider's part.
    pub providers: Vec<ProviderSummary>,
}

/// What a pass did for a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSummary {
    /// The provider.
    pub provider: ProviderId,
    /// Jobs published, or counted in a dry run.
    pub published: u64,
    /// The provider's queues are full and more is due.
    pub more_is_due: bool,
}

impl ProviderSummary {
    pub(crate) const fn new(provider: ProviderId) -> Self {
        Self { provider, published: 0, more_is_due: false }
    }
}

impl Summary {
    /// Jobs published, or counted, for all providers.
    pub fn published(&self) -> u64 {
        self.providers.iter().map(|provider| provider.published).sum()
    }

    /// Whether anything was done or is left to do.
    pub(crate) fn is_eventful(&self) -> bool {
        self.adopted + self.revived > 0
            || self.providers.iter().any(|p| p.published > 0 || p.more_is_due)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would publish" } else { "published" };
        write!(f, "{verb} {} jobs", self.published())?;
        for provider in &self.providers {
            write!(f, ", {}: {}", provider.provider, provider.published)?;
            if provider.more_is_due {
                write!(f, " (its queues are full; more is due)")?;
            }
        }
        if self.adopted > 0 {
            write!(f, "; adopted {} documents", self.adopted)?;
        }
        if self.revived > 0 {
            write!(f, "; {} users have signed in again", self.revived)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_in_one_line_what_was_done_and_what_is_left() {
        let mut autodesk = ProviderSummary::new("autodesk".parse().unwrap());
        autodesk.published = 2_000;
        autodesk.more_is_due = true;
        let providers = vec![autodesk];
        let summary = Summary { adopted: 5, revived: 2, dry_run: false, providers };
        assert_eq!(
            summary.to_string(),
            "published 2000 jobs, autodesk: 2000 (its queues are full; more is due); \
             adopted 5 documents; 2 users have signed in again"
        );
    }
}
